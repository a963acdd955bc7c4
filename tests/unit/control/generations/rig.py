"""A supervisor with one worker, over a socket pair, and what keeps its generations."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.control.generations.kept import store_in
from tests.unit.control.policies import plugins_for, sources_of
from tests.unit.waiting import until
from tunproxy.control import keeper as keeper_module
from tunproxy.control.config.sources import Sources
from tunproxy.control.generations.applying import Applying
from tunproxy.control.generations.book import Book
from tunproxy.control.generations.desk import Desk
from tunproxy.control.generations.store import Store
from tunproxy.control.generations.undoing import Undoing
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.questions import Questions, answer_on, socket_pair
from tunproxy.control.reload import Reloader
from tunproxy.control.settings import PolicyOptions

RULE = 'rules = ["DOMAIN,a.example,REJECT"]\n'


@dataclass
class Rig:
    """All of it. began has what a worker that is started now begins with."""

    path: Path
    reloader: Reloader
    keeper: PolicyKeeper
    book: Book
    applying: Applying
    desk: Desk
    choices: dict[str, str] = field(default_factory=dict)
    chosen: list[Mapping[str, str]] = field(default_factory=list)
    began: list[Sources] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.book.store

    def rules(self) -> int:
        """Return how many rules the worker has."""
        return len(self.keeper.policy.parts.rules)

    def states(self) -> list[tuple[int, str]]:
        return [(each.number, each.state) for each in self.store.find().generations]


def play(path: Path, talk: Callable[[Rig], Awaitable[None]], store: Path | None = None) -> None:
    """Let talk use what has begun with the configuration at path."""

    async def both() -> None:
        loop = asyncio.get_running_loop()
        sources = sources_of(path)
        keeper = PolicyKeeper(sources)
        ours, theirs = socket_pair()
        with closing(ours), closing(theirs):
            answers = {"reload": lambda fd: keeper.reload(fd, loop)}
            answer_on(loop, theirs, {"policy": keeper.state}, answers)
            options = PolicyOptions(config=str(path))
            reloader = Reloader(options, sources, [Questions(ours)])
            choices: dict[str, str] = {}
            book = Book(store_in(store or path.parent), {"config": str(path)}, lambda: choices)
            applying = Applying(reloader, book)
            reloader.trial = applying
            undoing = Undoing(book, options, lambda: reloader.sources.config.plugins.folder)
            chosen: list[Mapping[str, str]] = []

            async def choose(then: Mapping[str, str]) -> None:
                chosen.append(dict(then))

            rig = Rig(
                path,
                reloader,
                keeper,
                book,
                applying,
                Desk(reloader, applying, undoing, choose),
                choices,
                chosen,
            )
            reloader.adopted = lambda sources, _: rig.began.append(sources)
            async with applying.looking_after():
                await asyncio.sleep(0)
                await until(lambda: not reloader.is_busy)  # what it began with is kept, where it can be
                await talk(rig)
            loop.remove_reader(theirs)

    asyncio.run(both())


def use_tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "load_plugins", plugins_for)
