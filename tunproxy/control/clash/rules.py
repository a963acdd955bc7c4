"""Rules with their hits, which may be switched off, and rule sets, which are read again."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any, Final  # Any: documents

from aiohttp import web

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.refusals import Refusal, answer, body_invalid, body_of, done, not_found
from tunproxy.control.clash.rule_shapes import rule_provider_of, rules_of
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.reload import Reloader, ReloadError
from tunproxy.rulesets.files import format_of


class Rules:
    """Handlers. The rules themselves are asked for once in a generation; wishes are kept up to date."""

    def __init__(self, asking: Asking, reloader: Reloader, wishes: Wishes) -> None:
        self._asking: Final = asking
        self._reloader: Final = reloader
        self._wishes: Final = wishes
        self._known: dict[str, Any] = {}

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/rules", self._rules)
        router.add_patch("/rules/disable", self._switch)
        router.add_get("/providers/rules", self._sets)
        router.add_put("/providers/rules/{name}", self._update)

    async def _told(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the rules, and what workers say of their hits."""
        about = {"generation": self._known.get("generation")}
        answers = await self._asking.each("helm-rules", about)
        for each in answers:
            if "rules" in each:
                self._known = each
        generation = self._known.get("generation")
        return self._known, [each for each in answers if each["generation"] == generation]

    async def _rules(self, request: web.Request) -> web.Response:
        return answer({"rules": rules_of(*await self._told())})

    async def _switch(self, request: web.Request) -> web.Response:
        switches = await body_of(request)
        if not all(isinstance(value, bool) for value in switches.values()):
            raise body_invalid()
        now = (await self._asking.each("helm-switch", {"switches": switches}))[0]
        self._wishes.off, self._wishes.off_of = frozenset(now["off"]), now["generation"]
        self._wishes.on_change()
        return done()

    async def _sets(self, request: web.Request) -> web.Response:
        sizes: Mapping[str, int] = (await self._told())[0].get("sets", {})
        found = {}
        for name, config in self._reloader.sources.config.rule_sets.items():
            saved_at = None
            with contextlib.suppress(OSError):
                saved_at = os.stat(config.path).st_mtime
            count = sum(size for each, size in sizes.items() if each == name)
            form = config.format or format_of(config.path)
            found[name] = rule_provider_of(name, config.behavior, form, count, saved_at)
        return answer({"providers": found})

    async def _update(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in self._reloader.sources.config.rule_sets:
            raise not_found()
        try:
            await self._reloader.reload("API")
        except ReloadError as error:
            raise Refusal(503, str(error)) from error
        return done()
