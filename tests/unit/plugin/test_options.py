"""Tables become options."""

from dataclasses import dataclass

import pytest

from tunproxy.errors import OptionError
from tunproxy.plugin.options import build_options
from tunproxy.secret import Secret


@dataclass(frozen=True)
class Options:
    server: str
    ports: tuple[int, ...] = ()
    token: Secret = Secret("")  # noqa: RUF009  # a Secret never changes


def test_build_options_makes_an_instance() -> None:
    built = build_options("plugin x", Options, {"server": "a", "ports": [1, 2], "token": "t"})
    assert built == Options("a", (1, 2), Secret("t"))


def test_build_options_takes_a_secret_that_was_read_already() -> None:
    built = build_options("plugin x", Options, {"server": "a", "token": Secret("t")})
    assert built == Options("a", (), Secret("t"))


@pytest.mark.parametrize(
    ("schema", "table", "why", "path"),
    [
        (Options, {"server": "a", "prots": []}, r"no option 'prots' \(did you mean 'ports'\?\)", ("prots",)),
        (Options, {"server": "a", "zzz": 1}, r"no option 'zzz' \(it has: server, ports, token\)", ("zzz",)),
        (Options, {}, "'server' is missing", ()),
        (Options, {"server": "a", "ports": [1, "x"]}, r"ports\[1\]: expected a whole number", ("ports", 1)),
        (None, {"x": 1}, "has no options, but 'x' is given", ("x",)),
    ],
)
def test_build_options_wrong_table_is_told(
    schema: type | None, table: dict[str, object], why: str, path: tuple[str | int, ...]
) -> None:
    with pytest.raises(OptionError, match=f"plugin x: .*{why}") as caught:
        build_options("plugin x", schema, table)
    assert caught.value.path == path


def test_build_options_without_schema_is_none() -> None:
    assert build_options("plugin x", None, {}) is None
