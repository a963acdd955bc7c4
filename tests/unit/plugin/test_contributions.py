"""Nothing gets in but what can be used."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import typer

from tunproxy.errors import ConfigError
from tunproxy.flow.codec import Codec
from tunproxy.plugin import contributions
from tunproxy.plugin.contributions import CodecType, Command, Resolver, Route, RuleKind
from tunproxy.rules.facts import Facts


class Test:
    __test__ = False

    def match(self, facts: Facts) -> bool | None:
        return True


class Same(Codec):
    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def decode(self, data: bytes) -> bytes:
        return data


@dataclass(frozen=True)
class Options:
    key: int = 0


class Nowhere(Resolver):
    async def resolve(self, name: str) -> list[str]:
        return []


async def handler(request: object) -> None:
    pass


def rule_kind(name: str = "MOON-PHASE", needs: tuple[str, ...] = ()) -> RuleKind:
    return RuleKind(name, lambda payload: Test(), needs)


GOOD: list[tuple[Callable[[object], object], object]] = [
    (contributions.rule_kinds_in, rule_kind()),
    (contributions.rule_kinds_in, rule_kind("X2", ("name", "process"))),
    (contributions.codec_types_in, CodecType("same", Options, lambda options: Same())),
    (contributions.resolvers_in, Nowhere("nowhere")),
    (contributions.routes_in, Route("GET", "", handler)),
    (contributions.routes_in, Route("DELETE", "/x/{id}", handler)),
    (contributions.commands_in, Command("add-up", typer.Typer())),
]


@pytest.mark.parametrize(("check", "thing"), GOOD)
def test_good_contribution_gets_in(check: Callable[[object], list[object]], thing: object) -> None:
    assert list(check([thing])) == [thing]
    assert list(check(None)) == []
    with pytest.raises(TypeError, match="is no list of"):
        list(check("text"))
    with pytest.raises(TypeError, match="is no list of"):
        list(check(thing))
    with pytest.raises(TypeError, match=r"^<object object at .* is no "):
        list(check([object()]))


@pytest.mark.parametrize(
    ("check", "thing", "why"),
    [
        (contributions.rule_kinds_in, rule_kind("moon"), "'moon' is no name for a rule kind"),
        (contributions.rule_kinds_in, rule_kind("DOMAIN"), "there is a rule kind 'DOMAIN' built in"),
        (contributions.rule_kinds_in, rule_kind(needs=("weather",)), "needs 'weather', which is no fact"),
        (contributions.codec_types_in, CodecType("x", int, lambda options: Same()), "is no codec type"),
        (contributions.resolvers_in, Nowhere(""), "is no resolver with a name"),
        (contributions.routes_in, Route("FETCH", "", handler), "'FETCH' is no method"),
        (contributions.routes_in, Route("GET", "x", handler), "'x' is no path"),
        (contributions.commands_in, Command("Add Up", typer.Typer()), "'Add Up' is no name"),
        (contributions.commands_in, Command("x", print), "is no command with a typer app"),
    ],
)
def test_bad_contribution_is_refused(
    check: Callable[[object], list[object]], thing: object, why: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=why):
        list(check([thing]))


def test_options_schema_is_a_dataclass_or_nothing() -> None:
    assert contributions.options_schema(Options) is Options
    assert contributions.options_schema(None) is None
    for bad in (Options(), int, "Options"):
        with pytest.raises(TypeError, match="is no dataclass of options"):
            contributions.options_schema(bad)


def test_codec_type_builds_codecs_from_tables() -> None:
    keys: list[int] = []

    def make(options: Options) -> Codec:
        keys.append(options.key)
        return Same()

    kind = CodecType("same", Options, make)
    assert kind.build({"key": 7}) is not kind.build({})
    assert keys == [7, 0]
    with pytest.raises(ConfigError, match="codec 'same': no option 'kye'"):
        kind.build({"kye": 7})
    with pytest.raises(TypeError, match="is no codec"):
        CodecType("none", Options, lambda options: None).build({})  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("bad", ["192.0.2.1", 7, ["example.org"], [None]])
def test_addresses_anything_else_is_refused(bad: object) -> None:
    assert contributions.addresses_in(("192.0.2.1", "2001:DB8::1")) == ("192.0.2.1", "2001:db8::1")
    with pytest.raises((TypeError, ValueError)):
        contributions.addresses_in(bad)
