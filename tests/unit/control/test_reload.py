"""Reload from end to end: files, supervisor, socket pair, worker's keeper."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.control.policies import plugins_for, sources_of, written
from tunproxy.control import keeper as keeper_module
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.questions import Questions, answer_on, socket_pair
from tunproxy.control.reload import Reloader, ReloadError
from tunproxy.control.settings import PolicyOptions
from tunproxy.flow.verdict import FlowInfo

RULE = 'rules = ["DOMAIN,a.example,REJECT"]\n'


@pytest.fixture(autouse=True)
def tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "load_plugins", plugins_for)


def play(path: Path, talk: Callable[[Reloader, PolicyKeeper], Awaitable[None]]) -> None:
    """Let talk use the supervisor of a worker that began with the configuration at path."""

    async def both() -> None:
        loop = asyncio.get_running_loop()
        sources = sources_of(path)
        keeper = PolicyKeeper(sources)
        ours, theirs = socket_pair()
        with closing(ours), closing(theirs):
            answer_on(loop, theirs, {"policy": keeper.state}, {"reload": lambda fd: keeper.reload(fd, loop)})
            await talk(Reloader(PolicyOptions(config=str(path)), sources, [Questions(ours)]), keeper)
            loop.remove_reader(theirs)

    asyncio.run(both())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_reload_reads_the_files_again(tmp_path: Path) -> None:
    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        written(tmp_path, RULE)
        told = await reloader.answer()
        assert told["is_reloaded"] is True
        assert told["policy"] == keeper.state()
        assert len(keeper.policy.parts.rules) == 1

    play(written(tmp_path, ""), talk)


@pytest.mark.parametrize("text", ["rules = [", 'rules = ["MATCH,x"]\n'], ids=["the file", "the policy"])
def test_reload_that_cannot_be_is_told_and_changes_nothing(tmp_path: Path, text: str) -> None:
    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        written(tmp_path, text)
        with pytest.raises(
            ReloadError, match=r"cannot use the configuration: 1 problem\n.*tunproxy\.toml:1:"
        ):
            await reloader.reload()
        assert "cannot use the configuration" in reloader.error
        assert (await reloader.answer())["is_reloaded"] is False
        assert (keeper.policy.generation, len(keeper.policy.parts.rules)) == (1, 1)
        written(tmp_path, RULE)
        await reloader.reload()
        assert reloader.error == ""

    play(written(tmp_path, RULE), talk)


def test_save_reloads_and_files_that_are_new_are_watched(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        async with reloader.watching():
            await asyncio.sleep(0.3)  # until the folder is watched
            new = tmp_path / "new"
            new.write_text('rules-file = "home.rules"\n')
            (tmp_path / "home.rules").write_text("DOMAIN,a.example,REJECT\n")
            new.replace(tmp_path / "tunproxy.toml")  # as editors do
            await until(lambda: keeper.policy.generation == 2)
            await asyncio.sleep(0.3)
            (tmp_path / "home.rules").write_text("DOMAIN,a.example,REJECT\nMATCH,DIRECT\n")
            await until(lambda: keeper.policy.generation == 3)
            assert len(keeper.policy.parts.rules) == 2
            (tmp_path / "unrelated").write_text("x")

    play(written(tmp_path, RULE), talk)
    assert "tunproxy.toml has changed: policy 2 is in force, 1 rules" in capfd.readouterr().err


def test_save_before_the_file_is_watched_is_not_missed(tmp_path: Path) -> None:
    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        written(tmp_path, RULE)
        async with reloader.watching():
            await until(lambda: keeper.policy.generation == 2)
            await asyncio.sleep(0.5)
            assert keeper.policy.generation == 2, "what has been read already is no news"

    play(written(tmp_path, ""), talk)


def test_save_of_something_broken_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        async with reloader.watching():
            await asyncio.sleep(0.3)
            written(tmp_path, "rules = [")
            await until(lambda: bool(reloader.error))
        assert keeper.policy.generation == 1

    play(written(tmp_path, RULE), talk)
    assert "(the old policy stays)" in capfd.readouterr().err


REFUSING = """
from tunproxy.plugin.api import REJECT, Verdict, hookimpl

@hookimpl
def decide_flow(info):
    return Verdict(REJECT, {name!r})
"""


def goes_to(keeper: PolicyKeeper) -> str:
    return keeper.decider.decide(FlowInfo("tcp", bytes(4), 1, bytes([192, 0, 2, 7]), 80)).upstream


def test_save_of_a_plugin_is_a_new_policy_and_a_broken_one_changes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "plugins"

    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        async with reloader.watching():
            assert goes_to(keeper) == "direct"
            folder.mkdir()
            (folder / "picky.py").write_text(REFUSING.format(name="one"))
            await until(lambda: goes_to(keeper) == "one")
            (folder / "picky.py").write_text(REFUSING.format(name="two"))
            await until(lambda: goes_to(keeper) == "two")
            (folder / "picky.py").write_text("x = (")
            await until(lambda: "picky" in keeper.policy.plugins.problems)
            assert goes_to(keeper) == "two"
            told = keeper.state()["plugin_problems"]
            assert isinstance(told, dict)
            assert told["picky"].startswith("stays as it was: the new version cannot be imported")
            (folder / "picky.py").unlink()
            await until(lambda: goes_to(keeper) == "direct")
            (folder / "test_picky.py").write_text("x = (")
            (folder / "notes.txt").write_text("x")

    play(written(tmp_path, f'[plugins]\nfolder = "{folder}"\n'), talk)
    err = capfd.readouterr().err
    assert f"{folder} is there: policy 2 is in force" in err
    assert "picky.py has changed: policy 3 is in force" in err
    assert "test_picky" not in err
