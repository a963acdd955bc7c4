"""A new policy for all workers, or for none: files, supervisor, socket pairs, workers' keepers."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.control.policies import plugins_for, sources_of, written
from tunproxy.control import keeper as keeper_module
from tunproxy.control import rollout
from tunproxy.control.config.sources import Sources
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.questions import Questions, answer_on, socket_pair
from tunproxy.control.reload import Reloader
from tunproxy.control.settings import PolicyOptions
from tunproxy.errors import ConfigError

RULE = 'rules = ["DOMAIN,a.example,REJECT"]\n'


@pytest.fixture(autouse=True)
def tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "load_plugins", plugins_for)


def test_reload_of_several_workers_is_of_all_or_of_none(tmp_path: Path) -> None:
    path = written(tmp_path, "")

    async def both() -> None:
        loop = asyncio.get_running_loop()
        sources = sources_of(path)
        keepers = [PolicyKeeper(sources) for _ in range(2)]
        pairs = [socket_pair() for _ in keepers]
        for keeper, (_, theirs) in zip(keepers, pairs, strict=True):
            answer_on(
                loop,
                theirs,
                {"policy": keeper.state, "commit": keeper.commit, "abandon": keeper.abandon},
                {"prepare": lambda fd, keeper=keeper: keeper.prepare(fd, loop),
                 "reload": lambda fd, keeper=keeper: keeper.reload(fd, loop)},
            )  # fmt: skip
        reloader = Reloader(PolicyOptions(config=str(path)), sources, [Questions(ours) for ours, _ in pairs])
        adopted: list[tuple[Sources, int]] = []
        reloader.adopted = lambda sources, generation: adopted.append((sources, generation))
        dropped: list[object] = []
        keepers[0].dropped = dropped.append

        written(tmp_path, RULE)
        build = keepers[1]._build
        keepers[1]._build = refuse  # type: ignore[method-assign]
        assert "not with me" in (await reloader.answer())["error"]  # type: ignore[operator]
        assert [keeper.policy.generation for keeper in keepers] == [1, 1]
        assert (len(dropped), adopted, reloader.sources) == (1, [], sources)

        keepers[1]._build = build  # type: ignore[method-assign]
        assert (await reloader.answer())["is_reloaded"] is True
        assert [keeper.policy.generation for keeper in keepers] == [2, 2]
        assert [keeper.policy.summary()["rules"] for keeper in keepers] == [1, 1]
        assert adopted == [(reloader.sources, 2)]

        late = PolicyKeeper(sources, generation=2)  # began before, and is there only now
        loop.remove_reader(pairs[1][1])
        answer_on(loop, pairs[1][1], {"policy": late.state}, {"reload": lambda fd: late.reload(fd, loop)})
        await reloader.catch_up(1, reloader.sources)
        assert late.policy.summary()["rules"] == 0
        await reloader.catch_up(1, sources)
        assert late.policy.summary()["rules"] == 1
        for ends in pairs:
            loop.remove_reader(ends[1])
            for end in ends:
                end.close()

    def refuse(*_: object) -> object:
        raise ConfigError("not with me")

    asyncio.run(both())


def test_reload_waits_for_a_worker_that_is_being_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "REPLACE_SECONDS", 0.01)
    path = written(tmp_path, "")

    async def both() -> None:
        loop = asyncio.get_running_loop()
        sources = sources_of(path)
        keeper = PolicyKeeper(sources)
        (gone, end), (ours, theirs) = socket_pair(), socket_pair()
        end.close()
        workers = [Questions(gone)]
        reloader = Reloader(PolicyOptions(config=str(path)), sources, workers)
        written(tmp_path, RULE)
        assert "the worker" in str((await reloader.answer())["error"])

        def come() -> None:
            answer_on(loop, theirs, {"policy": keeper.state}, {"reload": lambda fd: keeper.reload(fd, loop)})
            workers[0] = Questions(ours)

        loop.call_later(0.005, come)
        assert (await reloader.answer())["is_reloaded"] is True
        loop.remove_reader(theirs)
        for each in (gone, ours, theirs):
            each.close()

    asyncio.run(both())
