"""``codec`` in the table of an upstream: what plugins contribute, put around what the upstream sends.

[upstreams.work]
codec = "rot13"                       or, with options, codec = { type = "rot13", … }
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final  # Any: options of a codec that is only known when it runs

from tunproxy.control.config.positions import Path
from tunproxy.control.config.problems import did_you_mean
from tunproxy.control.config.tables import MISSING, Checker
from tunproxy.errors import ConfigError
from tunproxy.flow.codec import Codec
from tunproxy.flow.targets import Targets
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.coded import CodedUpstream
from tunproxy.upstream.types import UpstreamType

KEY: Final = "codec"

Make = Callable[[], Codec]


class ConfiguredCodecs:
    """The codecs that upstreams of one configuration ask for. What is wrong is for checker to tell."""

    def __init__(self, checker: Checker, plugins: Plugins, targets: Targets) -> None:
        self._checker: Final = checker
        self._types: Final = plugins.codecs()
        self._targets: Final = targets

    def wanted(
        self, kind: UpstreamType, options: Mapping[str, object], path: Path
    ) -> tuple[Make | None, Mapping[str, object]]:
        """Return what makes the codec that a table asks for, None for none, and the rest of the table.

        A type of upstreams that has an option of that name has it for itself.
        """
        if KEY not in options or any(each.name == KEY for each in dataclasses.fields(kind.options)):
            return None, options
        rest = {key: value for key, value in options.items() if key != KEY}
        return self._make(options[KEY], (*path, KEY)), rest

    def around(self, upstream: Upstream, make: Make) -> Upstream:
        """Return upstream with a codec from make around each of its streams."""
        return CodedUpstream(upstream, make, self._targets)

    def _make(self, value: object, path: Path) -> Make | None:
        table = {"type": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping) or not isinstance(table.get("type"), str):
            self._checker.complain(path, 'expected the name of a codec, or { type = "NAME", … }')
            return None
        codec_type = self._types.get(table["type"])
        if codec_type is None:
            name, hint = table["type"], did_you_mean(table["type"], self._types)
            self._checker.complain(
                path, f"there is no codec {name!r}{hint or ' (no plugin contributes one)'}"
            )
            return None
        given = {key: each for key, each in table.items() if key != "type"}
        options: Any = self._checker.make(codec_type.options, given, path)
        if options is MISSING:
            return None
        make, name = codec_type.make, codec_type.name

        def one() -> Codec:
            codec = make(options)
            if not isinstance(codec, Codec):
                raise TypeError(f"codec {name!r}: {codec!r} is no codec")
            return codec

        try:
            one()  # what cannot be is told now, and not by the first flow
        except ConfigError as error:
            self._checker.complain(path, str(error).removeprefix(f"codec {name!r}: "))
            return None
        except Exception as error:
            self._checker.complain(path, f"codec {name!r} cannot be made: {type(error).__name__}: {error}")
            return None
        return one
