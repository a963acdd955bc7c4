"""Resolvers of plugins, asked so that a bad one is a failed look-up and nothing worse."""

import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tunproxy.plugin.contributions import Resolver, addresses_in
from tunproxy.plugin.hook import Hook
from tunproxy.plugin.ledger import Ledger
from tunproxy.plugin.manager import Plugins

Lookup = Callable[[str], Awaitable[Sequence[str]]]


class GuardedResolver:
    """One resolver of one plugin."""

    def __init__(self, plugin: str, resolver: Resolver, ledger: Ledger) -> None:
        self.name: Final = resolver.name
        self.plugin: Final = plugin
        self._resolver: Final = resolver
        self._ledger: Final = ledger
        self._hook: Final = Hook(plugin, self._resolve, ("name",), "contribute_resolvers")

    async def resolve(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a name, none where there is no such name; raises OSError.

        A plugin that is suspended, raises something else, answers no addresses, or takes too long, could
        not find out; that is counted as its fault.
        """
        answer = await self._ledger.wait_for(self._hook, {"name": name}, _outcome, deed=f"resolve {name!r}")
        if isinstance(answer, OSError):
            raise answer
        if answer is None:
            raise OSError(errno.EAGAIN, f"resolver {self.name!r} of plugin {self.plugin} does not answer")
        return answer

    async def _resolve(self, name: str) -> object:
        """Return what the plugin answers, or the OSError with which it says honestly that it cannot."""
        try:
            return await self._resolver.resolve(name)
        except TimeoutError:  # may be the one that is ours
            raise
        except OSError as error:
            return error


def lookups_of(plugins: Plugins) -> dict[str, Lookup]:
    """Return the resolvers that plugins contribute, each as a function that raises OSError only."""
    return {
        name: GuardedResolver(plugin, resolver, plugins.ledger).resolve
        for name, (plugin, resolver) in plugins.resolvers().items()
    }


def _outcome(answer: object) -> tuple[str, ...] | OSError:
    return answer if isinstance(answer, OSError) else addresses_in(answer)
