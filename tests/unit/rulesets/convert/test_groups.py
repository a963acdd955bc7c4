"""Groups of other programs."""

from collections.abc import Mapping

import pytest

from tunproxy.rulesets.convert.clash import convert_clash
from tunproxy.rulesets.convert.groups import group_of
from tunproxy.rulesets.convert.singbox import convert_singbox
from tunproxy.rulesets.convert.surge import convert_surge


def found(kind: str, **keys: object) -> tuple[str, Mapping[str, object], tuple[str, ...]]:
    made = group_of("g", kind, ["a"], {key.replace("_", "-"): value for key, value in keys.items()})
    assert (made.name, made.members) == ("g", ("a",))
    return made.kind, made.options, made.left_out


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [(300, 300), ("300", 300), ("3m", 180), ("1m30s", 90), ("1.5h", 5400), ("500ms", 1)],
)
def test_interval_is_in_seconds_and_at_least_one(interval: object, seconds: int) -> None:
    assert found("fallback", interval=interval) == ("group fallback", {"interval": seconds}, ())


def test_how_members_are_tested_is_kept() -> None:
    """Clash's timeout is in milliseconds, Surge's in seconds."""
    keys = {"url": "http://x/", "interval": 60, "tolerance": 20, "timeout": 2500, "expected_status": "204"}
    options = {"url": "http://x/", "interval": 60, "timeout": 2.5, "tolerance": 20, "status": 204}
    assert found("url-test", **keys) == ("group url-test", options, ())
    assert found("fallback", timeout="5", interval=0, expected_status="*")[1:] == ({"timeout": 5}, ())
    assert found("load-balance", strategy="round-robin")[1:] == ({"strategy": "round-robin"}, ())
    assert found("fallback", lazy=False)[1:] == ({"lazy": False}, ())
    assert found("fallback", lazy=True)[1:] == found("select", lazy=False)[1:] == ({}, ())


@pytest.mark.parametrize(
    ("kind", "keys", "why"),
    [
        ("url-test", {"interval": "soon"}, "interval 'soon' is no number of seconds"),
        ("fallback", {"expected_status": "200/204"}, "any status is well, not '200/204' alone"),
        ("load-balance", {"strategy": "magic"}, "there is no strategy 'magic'"),
        ("select", {"use": ["p"], "filter": "HK"}, "'use', 'filter': left out"),
    ],
)
def test_what_is_lost_is_told(kind: str, keys: Mapping[str, object], why: str) -> None:
    assert found(kind, **keys) == (f"group {kind}", {}, (why,))


def test_group_that_somebody_chooses_in_is_not_tested() -> None:
    keys = {"url": "http://x/", "interval": 60, "hidden": True, "default": "a"}
    assert found("selector", **keys) == ("group select", {"selected": "a"}, ())


def test_unknown_kind_leaves_the_choice_to_somebody() -> None:
    kind, options, left_out = found("subnet", url="http://x/")
    assert (kind, options) == ("group select", {})
    assert left_out == ("'subnet' is no kind of group here: somebody has to choose",)


def test_each_program_says_it_in_its_own_way() -> None:
    clash = convert_clash(
        b"proxy-groups:\n- {name: g, type: url-test, proxies: [DIRECT], interval: 60}\ndns: {}\n", "x"
    )
    sing = convert_singbox(
        b'{"outbounds": [{"tag": "out", "type": "direct"}, {"tag": "g", "type": "urltest", "outbounds":'
        b' ["out"], "interval": "1m"}], "dns": {}, "route": {}}',
        "x",
    )
    surge = convert_surge(
        b"[General]\n[Proxy]\nout = direct\n[Proxy Group]\ng = url-test, out, interval=60\n", "x"
    )
    for result in (clash, sing, surge):
        (group,) = result.outlets
        assert (group.kind, group.options, group.left_out) == ("group url-test", {"interval": 60}, ())
    assert (clash.outlets[0].line, surge.outlets[0].line) == (2, 5)
    assert sing.aliases["out"] == surge.aliases["out"] == "DIRECT"
    assert (clash.others, sing.others, surge.others) == (["dns"], ["dns"], ["[General]"])
