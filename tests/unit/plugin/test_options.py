"""Tables become options."""

from dataclasses import dataclass

import pytest

from tunproxy.errors import ConfigError
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
    ("schema", "table", "why"),
    [
        (Options, {"server": "a", "prots": []}, r"no option 'prots' \(did you mean 'ports'\?\)"),
        (Options, {"server": "a", "zzz": 1}, r"no option 'zzz' \(it has: server, ports, token\)"),
        (Options, {}, "missing required field `server`"),
        (Options, {"server": "a", "ports": ["x"]}, r"ports\[0\]: expected `int`"),
        (None, {"x": 1}, "has no options, but 'x' is given"),
    ],
)
def test_build_options_wrong_table_is_told(schema: type | None, table: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=f"plugin x: .*{why}"):
        build_options("plugin x", schema, table)


def test_build_options_without_schema_is_none() -> None:
    assert build_options("plugin x", None, {}) is None
