"""The worker's policy: builds a new one aside when the supervisor sends sources, and exchanges the decider.

A thread builds, beside the packet path and with half of the interpreter's time at most: rule sets with a
million lines take seconds. Both take turns of TURN_SECONDS while it does. A process of its own would not do:
what it built would have to come over here, which is most of the work, and it would not be the objects that
flows and plugins know.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from typing import Final

from tunproxy.control.config.sets import SetCache
from tunproxy.control.config.sources import Sources, from_memory
from tunproxy.control.policy import Policy, Surroundings, build_policy, load_plugins
from tunproxy.decide.switch import SwitchableDecider
from tunproxy.errors import TunproxyError
from tunproxy.plugin.reload import renewed

# our choice: longer turns would delay packets, shorter ones be spent on changing
TURN_SECONDS: Final = 0.0002
MAX_TEXT: Final = 4000  # letters of an error
MAX_PLUGINS: Final = 50  # whose problems are told, each in so many letters
MAX_WORDS: Final = 300

_log: Final = logging.getLogger(__name__)


class PolicyKeeper:
    """Has the current policy.

    adopted is called with each one after the first, on the loop, when its decider is the current one.
    """

    def __init__(
        self,
        sources: Sources,
        around: Surroundings | None = None,
        generation: int = 1,
    ) -> None:
        """Build the first policy, which is of this generation, in this thread; raises ConfigError."""
        self._around: Final = around or Surroundings()
        self._cache: Final = SetCache()
        self.adopted: Callable[[Policy], None] | None = None
        self.dropped: Callable[[Policy], None] | None = None  # told of one that was built in vain
        self._sources = sources
        self._building = False
        self._error = ""
        self._is_preparing = False
        self._is_unwanted = False
        self._prepared: tuple[Policy, Sources] | None = None
        self._first: Final = generation
        self.policy = self._build(sources, None)
        self.decider: Final = SwitchableDecider(self.policy.decider)
        self._tell_oddities()

    def reload(self, fd: int, loop: asyncio.AbstractEventLoop) -> dict[str, object]:
        """Begin to build a policy from the sources in a file in memory, which is closed; return the state.

        One is built at a time: while that goes on, nothing begins, and is_accepted is False.
        """
        self._is_preparing = False
        return self._begin(fd, loop)

    def prepare(self, fd: int, loop: asyncio.AbstractEventLoop) -> dict[str, object]:
        """Do as reload does, but have the policy in force when commit() is called."""
        self.abandon()
        self._is_preparing = True
        return self._begin(fd, loop)

    def commit(self) -> dict[str, object]:
        """Put what was prepared in force; return the state."""
        if self._prepared is not None:
            policy, sources = self._prepared
            self._prepared = None
            self._adopt(policy, sources)
        return self.state()

    def abandon(self) -> dict[str, object]:
        """Forget what was prepared, or is being prepared."""
        self._is_preparing = False
        self._is_unwanted = self._building
        if self._prepared is not None:
            policy, _ = self._prepared
            self._prepared = None
            self._drop(policy)
        return self.state()

    def _begin(self, fd: int, loop: asyncio.AbstractEventLoop) -> dict[str, object]:
        sources = from_memory(fd)
        if self._building:
            return {**self.state(), "is_accepted": False}
        self._is_unwanted = False
        self._building = True
        self._error = ""
        thread = threading.Thread(target=self._run, args=(sources, loop), name="policy", daemon=True)
        thread.start()
        return {**self.state(), "is_accepted": True}

    @property
    def sources(self) -> Sources:
        """What the current policy was built from."""
        return self._sources

    def state(self) -> dict[str, object]:
        """Return what there is, whether another one is being built, and why the last could not be."""
        problems = self.policy.plugins.problems.items()
        return {
            **self.policy.summary(),
            "plugin_problems": {name: why[:MAX_WORDS] for name, why in list(problems)[:MAX_PLUGINS]},
            "is_building": self._building,
            "error": _cut(self._error),
        }

    def _build(self, sources: Sources, before: Policy | None) -> Policy:
        if before is not None and sources.config.plugins == self._sources.config.plugins:
            plugins = renewed(before.plugins, self._sources.plugin_files, sources.plugin_files)
        else:
            plugins = load_plugins(sources)
        generation = before.generation + 1 if before is not None else self._first
        return build_policy(sources, plugins, cache=self._cache, around=self._around, generation=generation)

    def _run(self, sources: Sources, loop: asyncio.AbstractEventLoop) -> None:
        """Build, in a thread of its own."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(TURN_SECONDS)
        policy: Policy | None = None
        error = ""
        try:
            policy = self._build(sources, self.policy)
        except TunproxyError as refused:
            error = str(refused)
        except Exception as fault:  # a plugin's, or ours: the old policy goes on
            _log.exception("cannot build a policy")
            error = f"cannot build a policy: {type(fault).__name__}: {fault}"
        finally:
            sys.setswitchinterval(interval)
        try:
            loop.call_soon_threadsafe(self._finish, policy, sources, error)
        except RuntimeError:  # the loop has been closed: we are at our end
            return

    def _finish(self, policy: Policy | None, sources: Sources, error: str) -> None:
        """Take what was built, on the loop."""
        self._building = False
        self._error = error
        if policy is None:
            _log.info("the old policy stays: %s", error)  # the supervisor tells the user
            return
        if self._is_unwanted:
            self._drop(policy)
        elif self._is_preparing:
            self._prepared = (policy, sources)
        else:
            self._adopt(policy, sources)

    def _drop(self, policy: Policy) -> None:
        """Let go of a policy that is never used."""
        if self.dropped is not None:
            self.dropped(policy)

    def _adopt(self, policy: Policy, sources: Sources) -> None:
        self._sources = sources
        self.policy = policy
        self.decider.switch(policy.decider)
        _log.info("policy %d is in force: %s", policy.generation, policy.source)
        self._tell_oddities()
        if self.adopted is not None:
            self.adopted(policy)

    def _tell_oddities(self) -> None:
        parts = self.policy.parts
        for line in parts.unread():
            _log.warning("%s", line)
        for notice in parts.notices:
            _log.warning("%s", notice)


def _cut(text: str) -> str:
    """Return as many lines of text as fit into MAX_TEXT."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT].rpartition(chr(10))[0]}\n…"
