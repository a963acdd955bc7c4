"""The plugins of a process, and what they contribute to a policy."""

from collections.abc import Callable, Iterable

from tunproxy.blame import failure, source_of
from tunproxy.plugin import contributions
from tunproxy.plugin.contributions import CodecType, Command, Named, Resolver, Route, RuleKind
from tunproxy.plugin.hook import Hook as Hook
from tunproxy.plugin.registry import Registry
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.types import UpstreamType


class Plugins(Registry):
    """The plugins of one process, or of one state of it: what has changed becomes a new one (``reload``).

    The ledger has the accounts of the plugins' calls; those who come after us get the same one.
    """

    def upstream_types(self) -> dict[str, UpstreamType]:
        """Return the kinds of upstreams that the plugins contribute, by name; asks each of them again."""
        return self._contributed(
            "contribute_upstream_types", "upstream type", contributions.upstream_types_in
        )

    def upstreams(self) -> dict[str, Upstream]:
        """Return what the plugins contribute, by name; asks each of them again."""
        return self._contributed("contribute_upstreams", "upstream", contributions.upstreams_in)

    def codecs(self) -> dict[str, CodecType]:
        """Return the kinds of codecs that the plugins contribute, by name; asks each of them again."""
        return self._contributed("contribute_codecs", "codec type", contributions.codec_types_in)

    def resolvers(self) -> dict[str, tuple[str, Resolver]]:
        """Return the resolvers that the plugins contribute, by name, with the plugin that each is of."""
        return self._with_owner("contribute_resolvers", "resolver", contributions.resolvers_in)

    def rule_kinds(self) -> dict[str, tuple[str, RuleKind]]:
        """Return the types of rules that the plugins contribute, by name, with the plugin of each."""
        return self._with_owner("contribute_rule_kinds", "rule kind", contributions.rule_kinds_in)

    def commands(self) -> dict[str, Command]:
        """Return the commands that the plugins contribute, by name; asks each of them again."""
        return self._contributed("contribute_commands", "command", contributions.commands_in)

    def routes(self) -> list[tuple[str, Route]]:
        """Return the parts of the API that the plugins contribute, with the plugin that each is of."""
        found: dict[tuple[str, str, str], Route] = {}
        for hook in self._contributors("contribute_routes"):
            try:
                for route in contributions.routes_in(hook({})):
                    found.setdefault((hook.plugin, route.method, route.path), route)
            except (Exception, SystemExit) as error:
                self._blame(hook, error)
        return [(plugin, route) for (plugin, _, _), route in found.items()]

    def rehearse(self) -> None:
        """Ask every plugin what it contributes to a policy, so that problems has what is wrong with it."""
        self.upstream_types()
        self.upstreams()
        self.codecs()
        self.resolvers()
        self.rule_kinds()

    def _contributed(
        self, hook_name: str, what: str, checked: Callable[[object], Iterable[Named]]
    ) -> dict[str, Named]:
        """Collect what the plugins return from a hook, by name: of two with one name the first stays."""
        return {name: thing for name, (_, thing) in self._with_owner(hook_name, what, checked).items()}

    def _with_owner(
        self, hook_name: str, what: str, checked: Callable[[object], Iterable[Named]]
    ) -> dict[str, tuple[str, Named]]:
        found: dict[str, tuple[str, Named]] = {}
        for hook in self._contributors(hook_name):
            try:
                for thing in checked(hook({})):
                    if thing.name in found:
                        article = "an" if what[0] in "aeiou" else "a"
                        self.complain(hook.plugin, f"there is {article} {what} {thing.name!r} already")
                    else:
                        found[thing.name] = (hook.plugin, thing)
            except (Exception, SystemExit) as error:
                self._blame(hook, error)
        return found

    def _blame(self, hook: Hook, error: BaseException) -> None:
        self.complain(hook.plugin, f"{hook.name} failed: {failure(error, source_of(hook.function))}")

    def _contributors(self, hook_name: str) -> list[Hook]:
        """Return the implementations in the order in which they contribute: first come, first served."""
        hooks = self.hooks(hook_name)
        hooks.reverse()
        hooks.sort(key=self.rank)  # stable
        return hooks
