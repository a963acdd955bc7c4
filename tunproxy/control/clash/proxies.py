"""Proxies, groups and what Clash calls their providers: shown, chosen, tested.

Tests go to URLs that the configuration names for its groups, or that are known to be made for that. To have
anything else fetched from here is refused: it would be fetched from inside.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any: documents

from aiohttp import web

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.proxy_shapes import (
    clash_name,
    is_group,
    is_way,
    own_name,
    provider_of,
    proxies_of,
)
from tunproxy.control.clash.refusals import Refusal, answer, body_invalid, body_of, done, not_found
from tunproxy.control.clash.state_files import StateFiles
from tunproxy.control.clash.statuses import statuses_of
from tunproxy.control.helm.wishes import GLOBAL, Wishes
from tunproxy.upstream.probe import TEST_URL

# what dashboards test with unless their users say otherwise
KNOWN_URLS: Final = frozenset(
    f"{scheme}://{place}"
    for scheme in ("http", "https")
    for place in (
        "www.gstatic.com/generate_204",
        "connectivitycheck.gstatic.com/generate_204",
        "www.google.com/generate_204",
        "cp.cloudflare.com/generate_204",
        "cp.cloudflare.com",
        "captive.apple.com",
        "www.apple.com/library/test/success.html",
        "www.msftconnecttest.com/connecttest.txt",
        "detectportal.firefox.com/success.txt",
    )
)
USUAL_TIMEOUT: Final = 5000  # ms
LONGEST: Final = 30_000
MARGIN: Final = 10.0  # seconds that a test may take longer than it should
CHOSEN_TYPES: Final = ("Selector", "URLTest", "Fallback")

FAILED: Final = "An error occurred in the delay test"
ALL_FAILED: Final = "get delay: all proxies timeout"


class Proxies:
    """Handlers. wishes are kept up to date, and kept in state."""

    def __init__(self, asking: Asking, wishes: Wishes, state: StateFiles) -> None:
        self._asking: Final = asking
        self._wishes: Final = wishes
        self._state: Final = state

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/proxies", self._all)
        router.add_get("/proxies/{name}", self._one)
        router.add_put("/proxies/{name}", self._choose)
        router.add_delete("/proxies/{name}", self._unpin)
        router.add_get("/proxies/{name}/delay", self._delay)
        router.add_get("/group", self._groups)
        router.add_get("/group/{name}", self._group)
        router.add_get("/group/{name}/delay", self._group_delay)
        router.add_get("/providers/proxies", self._providers)
        router.add_get("/providers/proxies/{provider}", self._provider)
        router.add_put("/providers/proxies/{provider}", self._update_provider)
        router.add_get("/providers/proxies/{provider}/healthcheck", self._check_provider)
        router.add_get("/providers/proxies/{provider}/{name}", self._of_provider)
        router.add_get("/providers/proxies/{provider}/{name}/healthcheck", self._delay_in_provider)

    async def _told(self) -> dict[str, dict[str, Any]]:
        return proxies_of(await self._asking.first("helm-ways"))

    async def _named(self, request: web.Request) -> dict[str, Any]:
        return _found(await self._told(), request.match_info["name"])

    async def _all(self, request: web.Request) -> web.Response:
        return answer({"proxies": await self._told()})

    async def _one(self, request: web.Request) -> web.Response:
        return answer(await self._named(request))

    async def _choose(self, request: web.Request) -> web.Response:
        ways = await self._asking.first("helm-ways")
        group = _found(proxies_of(ways), request.match_info["name"])
        member = (await body_of(request)).get("name")
        if not isinstance(member, str):
            raise body_invalid()
        if group["type"] not in CHOSEN_TYPES:
            raise Refusal(400, "Must be a Selector")
        if member not in group["all"]:
            raise Refusal(400, "Selector update error: proxy not exist")
        if group["name"] == GLOBAL and not any(way["name"] == GLOBAL for way in ways["ways"]):
            await self._asking.each("helm-mode", {"way": own_name(member)})
            self._wishes.way = own_name(member)
            self._wishes.on_change()
        else:
            await self._set(group["name"], member)
        return done()

    async def _unpin(self, request: web.Request) -> web.Response:
        group = await self._named(request)
        if "fixed" not in group:
            raise body_invalid()
        await self._set(group["name"], "")
        return done()

    async def _set(self, group: str, member: str) -> None:
        """Have all workers use a member of a group, "" for none in particular, and keep that."""
        about = {"group": own_name(group), "member": own_name(member)}
        written = (await self._asking.each("helm-choose", about))[0]["member"]
        if written:
            self._wishes.choices[own_name(group)] = written
        else:
            self._wishes.choices.pop(own_name(group), None)
        self._state.keep_choices(self._wishes.choices)

    async def _delay(self, request: web.Request) -> web.Response:
        proxies = await self._told()
        name = _found(proxies, request.match_info["name"])["name"]
        return await self._tested(name, request.query, proxies)

    async def _delay_in_provider(self, request: web.Request) -> web.Response:
        proxies = await self._told()
        provider = _found(_providers_of(proxies), request.match_info["provider"])
        name = request.match_info["name"]
        if name not in [proxy["name"] for proxy in provider["proxies"]]:
            raise not_found()
        return await self._tested(name, request.query, proxies)

    async def _tested(self, name: str, query: Mapping[str, str], proxies: Mapping[str, Any]) -> web.Response:
        wanted = self._wanted(query, proxies, "")
        if not is_way(proxies[name]):
            raise Refusal(503, FAILED)
        delays, problems = await self._run([name], *wanted)
        if name in delays:
            return answer({"delay": delays[name]})
        if "no answer within" in problems.get(name, ""):
            raise Refusal(504, "Timeout")
        raise Refusal(503, FAILED)

    async def _groups(self, request: web.Request) -> web.Response:
        return answer({"proxies": [proxy for proxy in (await self._told()).values() if is_group(proxy)]})

    async def _group(self, request: web.Request) -> web.Response:
        return answer(_as_group(await self._named(request)))

    async def _group_delay(self, request: web.Request) -> web.Response:
        proxies = await self._told()
        group = _as_group(_found(proxies, request.match_info["name"]))
        wanted = self._wanted(request.query, proxies, group["testUrl"])
        if group.get("fixed"):
            await self._set(group["name"], "")
        delays, _ = await self._run(group["all"], *wanted)
        if not delays:
            raise Refusal(504, ALL_FAILED)
        return answer(delays)

    async def _providers(self, request: web.Request) -> web.Response:
        return answer({"providers": _providers_of(await self._told())})

    async def _provider(self, request: web.Request) -> web.Response:
        return answer(await self._named_provider(request))

    async def _of_provider(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        for proxy in (await self._named_provider(request))["proxies"]:
            if proxy["name"] == name:
                return answer(proxy)
        raise not_found()

    async def _update_provider(self, request: web.Request) -> web.Response:
        await self._named_provider(request)
        return done()  # what stands in the configuration is up to date

    async def _check_provider(self, request: web.Request) -> web.Response:
        proxies = await self._told()
        provider = _found(_providers_of(proxies), request.match_info["provider"])
        names = [proxy["name"] for proxy in provider["proxies"] if is_way(proxy)]
        await self._run(names, provider["testUrl"] or TEST_URL, USUAL_TIMEOUT / 1000)
        return done()

    async def _named_provider(self, request: web.Request) -> dict[str, Any]:
        return _found(_providers_of(await self._told()), request.match_info["provider"])

    def _wanted(
        self, query: Mapping[str, str], proxies: Mapping[str, Any], usual: str
    ) -> tuple[str, float, list[int] | None]:
        """Return the URL, the seconds and the statuses that a query asks for; raises Refusal."""
        text = query.get("timeout", str(USUAL_TIMEOUT))
        if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
            raise body_invalid()
        url = query.get("url") or usual or TEST_URL
        known = {each["testUrl"] for each in proxies.values() if each.get("testUrl")}
        if url != TEST_URL and url not in known and url.rstrip("/") not in KNOWN_URLS:
            raise Refusal(400, "this URL is not fetched: it is no url of a group in the configuration")
        return url, min(int(text), LONGEST) / 1000, statuses_of(query.get("expected", ""))

    async def _run(
        self, names: Sequence[str], url: str, seconds: float, statuses: list[int] | None = None
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Return the delays in ms of those that were reached, and what was wrong with the others."""
        about: dict[str, Any] = {"names": [own_name(name) for name in names], "url": url, "timeout": seconds}
        if statuses is not None:
            about["statuses"] = statuses
        patience = seconds * (1 + len(names) // 16) + MARGIN
        found = await self._asking.errand("helm-test", about, patience)
        delays = {clash_name(name): ms for name, ms in found["delays"].items()}
        return delays, {clash_name(name): why for name, why in found["problems"].items()}


def _found(those: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in those:
        raise not_found()
    return those[name]


def _as_group(proxy: dict[str, Any]) -> dict[str, Any]:
    if not is_group(proxy):
        raise not_found()
    return proxy


def _providers_of(proxies: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {
        "default": provider_of("default", [each for each in proxies.values() if not is_group(each)]),
    }
    for name, group in proxies.items():
        if is_group(group) and name != GLOBAL:
            members = [proxies[member] for member in group["all"] if member in proxies]
            found[name] = provider_of(name, members, group["testUrl"])
    return found
