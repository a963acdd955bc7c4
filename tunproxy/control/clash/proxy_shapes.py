"""Ways out as Clash shows them: proxies and groups, by names that dashboards know.

``direct``, ``reject`` and ``drop`` are DIRECT, REJECT and REJECT-DROP there. GLOBAL is a group that has
everything, in the order in which dashboards list it; flows go through it in the mode ``global``.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any: documents

from tunproxy.control.clash.moments import written
from tunproxy.control.helm.wishes import GLOBAL

NAMES: Final = {"direct": "DIRECT", "reject": "REJECT", "drop": "REJECT-DROP"}
_OWN: Final = {clash: ours for ours, clash in NAMES.items()}
_TYPES: Final = {
    "direct": "Direct",
    "reject": "Reject",
    "drop": "RejectDrop",
    "socks4": "Socks5",
    "socks4a": "Socks5",
    "socks5": "Socks5",
    "http": "Http",
    "https": "Http",
    "shadowsocks": "Shadowsocks",
    "select": "Selector",
    "url-test": "URLTest",
    "fallback": "Fallback",
    "load-balance": "LoadBalance",
    "relay": "Relay",
}
_UNTESTED: Final = ("Selector", "Relay")  # groups that say nothing of the status they expect
_PINNED: Final = ("URLTest", "Fallback")  # groups where a choice shows in ``fixed``
_STATIC: Final = {"COMPATIBLE": "Compatible", "PASS": "Pass", "PASS-RULE": "PassRule"}
_IDS: Final = uuid.UUID("6f1c1dd4-3c3f-4c0e-9d5f-0b8a3f6c2f11")  # of names: any would do

Document = dict[str, Any]


def clash_name(name: str) -> str:
    """Return what Clash calls a way."""
    return NAMES.get(name, name)


def own_name(name: str) -> str:
    """Return what we call what Clash calls so."""
    return _OWN.get(name, name)


def is_way(proxy: Document) -> bool:
    """Tell whether flows can go through a proxy, and it can be tested: PASS, for one, is no way."""
    return proxy["type"] not in ("Pass", "PassRule")


def proxies_of(told: Mapping[str, Any]) -> dict[str, Document]:
    """Return all proxies and groups, by name, of what a worker told of its ways."""
    ways: Sequence[Mapping[str, Any]] = told["ways"]
    known = {clash_name(way["name"]): proxy_of(way) for way in ways}
    order = [name for name in NAMES.values() if name in known]  # first, as in Clash
    order += [name for name in known if name not in order]
    found = {name: known[name] for name in order}
    for name, kind in _STATIC.items():
        found.setdefault(name, _plain(name, kind))
    if GLOBAL not in found:
        found[GLOBAL] = _group(_plain(GLOBAL, "Selector"), order, clash_name(str(told["way"])), "", 0)
    return found


def proxy_of(way: Mapping[str, Any]) -> Document:
    """Return one proxy or group."""
    kind = str(way["type"])
    document = _plain(clash_name(way["name"]), _TYPES.get(kind, kind.title()))
    document["udp"] = bool(way["udp"])
    if way["is_group"]:
        group = _group(document, [], way["now"], way["url"], way["status"])
        group["all"] = [clash_name(member) for member in way["members"]]
        if group["type"] == "LoadBalance":
            del group["now"]
        else:
            group["now"] = clash_name(way["now"] or way["members"][0])
        if group["type"] in _PINNED:
            group["fixed"] = clash_name(way["chosen"])
        return group
    tests = way["tests"]
    for test in tests:
        history = [{"time": written(at), "delay": ms} for at, ms in test["delays"]]
        document["extra"][test["url"]] = {"alive": not test["is_dead"], "history": history}
    if tests:
        document["history"] = document["extra"][tests[0]["url"]]["history"]
        document["alive"] = any(not test["is_dead"] for test in tests)
    return document


def _plain(name: str, kind: str) -> Document:
    return {
        "alive": True,
        "dialer-proxy": "",
        "extra": {},
        "history": [],
        "id": str(uuid.uuid5(_IDS, name)),
        "interface": "",
        "mptcp": False,
        "name": name,
        "provider-name": "",
        "routing-mark": 0,
        "smux": False,
        "tfo": False,
        "type": kind,
        "udp": True,
        "uot": False,
        "xudp": False,
    }


def _group(proxy: Document, members: Sequence[str], now: str | None, url: str, status: int) -> Document:
    group = {key: value for key, value in proxy.items() if key != "id"}
    group |= {
        "all": list(members),
        "now": now or "",
        "testUrl": url,
        "emptyFallback": "COMPATIBLE",
        "hidden": False,
        "icon": "",
    }
    if group["type"] not in _UNTESTED:
        group["expectedStatus"] = str(status) if status else "*"
    return group


def is_group(proxy: Mapping[str, Any]) -> bool:
    """Tell whether this is a group."""
    return "all" in proxy


def provider_of(name: str, proxies: Sequence[Document], url: str = "") -> Document:
    """Return what Clash calls a provider: the members of a group, or all proxies."""
    return {
        "name": name,
        "type": "Proxy",
        "vehicleType": "Compatible",
        "proxies": list(proxies),
        "testUrl": url,
        "expectedStatus": "*",
        "updatedAt": "0001-01-01T00:00:00Z",
    }
