"""``codec`` in the table of an upstream: what plugins contribute, put around what the upstream sends.

[upstreams.work]
codec = "rot13"                       or, with options, codec = { type = "rot13", … }
codec = ["zstd", { type = "seal", … }]   several: the first is nearest to the clear stream
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final  # Any: options of a codec that is only known when it runs

from tunproxy.blame import failure, source_of
from tunproxy.control.config.positions import Path
from tunproxy.control.config.problems import did_you_mean
from tunproxy.control.config.tables import MISSING, Checker
from tunproxy.errors import ConfigError, OptionError
from tunproxy.flow.codec import Codec
from tunproxy.flow.layered import layered
from tunproxy.flow.targets import Targets
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.coded import CodedUpstream
from tunproxy.upstream.coded_proxy import CodedProxy
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.types import UpstreamType

KEY: Final = "codec"

Make = Callable[[], Codec]


@dataclass(frozen=True)
class Wanted:
    """What a table asks for: what makes it, and the name of what compresses in it, or encrypts."""

    make: Make
    path: Path
    compressor: str = ""
    encryptor: str = ""


class ConfiguredCodecs:
    """The codecs that upstreams of one configuration ask for. What is wrong is for checker to tell."""

    def __init__(self, checker: Checker, plugins: Plugins, targets: Targets) -> None:
        self._checker: Final = checker
        self._types: Final = plugins.codecs()
        self._targets: Final = targets

    def wanted(
        self, kind: UpstreamType, options: Mapping[str, object], path: Path
    ) -> tuple[Wanted | None, Mapping[str, object]]:
        """Return what codec a table asks for, None for none, and the rest of the table.

        A type of upstreams that has an option of that name has it for itself.
        """
        if KEY not in options or any(each.name == KEY for each in dataclasses.fields(kind.options)):
            return None, options
        rest = {key: value for key, value in options.items() if key != KEY}
        return self._wanted(options[KEY], (*path, KEY)), rest

    def around(self, upstream: Upstream, wanted: Wanted) -> Upstream:
        """Return upstream with a new codec around each of its streams."""
        if isinstance(upstream, ProxyUpstream):  # and so a hop, in a chain of them
            sealed = "TLS" if upstream.tls is not None else upstream.encryption
            if wanted.compressor and sealed:
                why = f"{wanted.compressor!r} would compress what {sealed} has encrypted"
                self._checker.complain(wanted.path, f"{why} (the proxy has to do it)")
            return CodedProxy(upstream, wanted.make)
        return CodedUpstream(upstream, wanted.make, self._targets)

    def _wanted(self, value: object, path: Path) -> Wanted | None:
        if not isinstance(value, list):
            return self._one(value, path)
        if not value:
            self._checker.complain(path, "expected at least one codec")
            return None
        found: list[Wanted] = []
        for at, each in enumerate(value):
            one = self._one(each, (*path, at))
            if one is None:
                return None
            sealed = next((other.encryptor for other in found if other.encryptor), "")
            if sealed and one.compressor:
                name = one.compressor
                why = f"{name!r} would compress what {sealed!r} has encrypted (put {name!r} in front of it)"
                self._checker.complain(one.path, why)
                return None
            found.append(one)
        makes = [each.make for each in found]
        return Wanted(
            lambda: layered([make() for make in makes]),
            path,
            next((each.compressor for each in found if each.compressor), ""),
            next((each.encryptor for each in found if each.encryptor), ""),
        )

    def _one(self, value: object, path: Path) -> Wanted | None:
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
            message = str(error).removeprefix(f"codec {name!r}: ")
            if isinstance(error, OptionError):
                self._checker.complain_of(error, path, message)
            else:
                self._checker.complain(path, message)
            return None
        except (Exception, SystemExit) as error:
            self._checker.complain(path, f"codec {name!r} cannot be made: {failure(error, source_of(make))}")
            return None
        return Wanted(one, path, name if codec_type.compresses else "", name if codec_type.encrypts else "")
