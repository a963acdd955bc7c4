"""Names and kinds of ways out as Clash has them."""

from typing import Any

import pytest

from tunproxy.control.clash.proxy_shapes import (
    clash_name,
    is_group,
    own_name,
    provider_of,
    proxies_of,
    proxy_of,
)


def way(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "type": "socks5", "is_group": False, "udp": True, "tests": [], **changes}


def group(**changes: Any) -> dict[str, Any]:
    about = {
        "members": ["direct", "x"],
        "now": None,
        "chosen": "",
        "takes_choice": True,
        "url": "",
        "status": 0,
    }
    return way(type="select", is_group=True) | about | changes


@pytest.mark.parametrize(("ours", "clash"), [("direct", "DIRECT"), ("drop", "REJECT-DROP"), ("x", "x")])
def test_names_lead_there_and_back(ours: str, clash: str) -> None:
    assert (clash_name(ours), own_name(clash)) == (clash, ours)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("socks4a", "Socks5"),
        ("https", "Http"),
        ("shadowsocks", "Shadowsocks"),
        ("tls", "Tls"),
        ("odd one", "Odd One"),
    ],
)
def test_types(kind: str, expected: str) -> None:
    assert proxy_of(way(type=kind))["type"] == expected


def test_tests_are_shown() -> None:
    tests = [
        {"url": "http://a/", "is_dead": True, "delays": [[0, 12], [1, 0]]},
        {"url": "http://b/", "is_dead": True, "delays": []},
    ]
    found = proxy_of(way(tests=tests, udp=False))
    assert (found["alive"], found["udp"]) == (False, False)
    assert [each["delay"] for each in found["history"]] == [12, 0]
    assert found["extra"]["http://b/"] == {"alive": False, "history": []}


def test_groups_differ_by_their_kind() -> None:
    selector = proxy_of(group())
    assert (selector["now"], selector["all"], "fixed" in selector) == ("DIRECT", ["DIRECT", "x"], False)
    assert "expectedStatus" not in selector
    assert is_group(selector)
    pinned = proxy_of(group(type="fallback", chosen="direct", now="x", status=204))
    assert (pinned["fixed"], pinned["now"], pinned["expectedStatus"]) == ("DIRECT", "x", "204")
    balanced = proxy_of(group(type="load-balance"))
    assert "now" not in balanced
    assert "fixed" not in balanced


def test_a_group_called_global_is_its_own() -> None:
    told = {"way": "direct", "ways": [way(name="direct", type="direct"), group(name="GLOBAL")]}
    assert proxies_of(told)["GLOBAL"]["all"] == ["DIRECT", "x"]
    del told["ways"][1]
    assert proxies_of(told)["GLOBAL"]["all"] == ["DIRECT"]
    assert proxies_of(told)["GLOBAL"]["now"] == "DIRECT"


def test_provider_has_its_members() -> None:
    found = provider_of("g", [proxy_of(way())], "http://a/")
    assert (found["vehicleType"], found["testUrl"], len(found["proxies"])) == ("Compatible", "http://a/", 1)
