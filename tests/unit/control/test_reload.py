"""Reload from end to end: files, supervisor, socket pair, worker's keeper."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.control.policies import plugins_for, sources_of, written
from tests.unit.waiting import until
from tunproxy.control import keeper as keeper_module
from tunproxy.control import questions
from tunproxy.control import reload as reload_module
from tunproxy.control.config.sources import Sources
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.questions import FdAnswers, Questions, answer_on, socket_pair
from tunproxy.control.reload import Reloader, ReloadError
from tunproxy.control.settings import PolicyOptions
from tunproxy.errors import TunproxyError
from tunproxy.flow.verdict import FlowInfo

RULE = 'rules = ["DOMAIN,a.example,REJECT"]\n'


@pytest.fixture(autouse=True)
def tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "load_plugins", plugins_for)


def play(
    path: Path, talk: Callable[[Reloader, PolicyKeeper], Awaitable[None]], more: FdAnswers | None = None
) -> None:
    """Let talk use the supervisor of a worker that began with the configuration at path; more are answers."""

    async def both() -> None:
        loop = asyncio.get_running_loop()
        sources = sources_of(path)
        keeper = PolicyKeeper(sources)
        ours, theirs = socket_pair()
        with closing(ours), closing(theirs):
            answers = {"reload": lambda fd: keeper.reload(fd, loop), **(more or {})}
            answer_on(loop, theirs, {"policy": keeper.state}, answers)
            await talk(Reloader(PolicyOptions(config=str(path)), sources, [Questions(ours)]), keeper)
            loop.remove_reader(theirs)

    asyncio.run(both())


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


def test_file_of_fake_addresses_goes_along_opened(tmp_path: Path) -> None:
    handed: list[tuple[int, int]] = []

    def take(fd: int, lock_fd: int) -> object:
        handed.append((os.fstat(fd).st_ino, os.fstat(lock_fd).st_ino))
        os.close(fd)
        os.close(lock_fd)
        return {}

    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        await reloader.reload()
        assert handed == []
        written(tmp_path, '[dns]\nmode = "fake-ip"\nfake-ip-file = "fake"\n')
        await reloader.reload()
        assert handed == [((tmp_path / "fake").stat().st_ino, (tmp_path / "fake.lock").stat().st_ino)]

    play(written(tmp_path, RULE), talk, {"fake-file": take})


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


def test_policy_that_cannot_be_built_is_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        written(tmp_path, 'rules = ["MATCH,x"]\n')
        await reloader.reload_and_tell("it has changed")

    play(written(tmp_path, RULE), talk)
    said = capfd.readouterr().err
    assert said.startswith("tunproxy: it has changed (the old policy stays): cannot use the configuration: 1")
    assert said.endswith("^\n"), "the line and its caret come last"
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_save_through_a_symbolic_link_reloads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As those have it who keep their configuration among others' under version control."""
    kept, home = tmp_path / "kept", tmp_path / "home"
    kept.mkdir()
    home.mkdir()
    (home / "tunproxy.toml").symlink_to(written(kept, ""))

    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        async with reloader.watching():
            await asyncio.sleep(0.5)
            new = kept / "new"
            new.write_text(RULE)
            new.replace(kept / "tunproxy.toml")
            await until(lambda: keeper.policy.generation == 2)
            other = tmp_path / "other"
            other.mkdir()
            written(other, "rules = [")
            (home / "new").symlink_to(other / "tunproxy.toml")
            (home / "new").replace(home / "tunproxy.toml")
            await until(lambda: bool(reloader.error))
            await asyncio.sleep(0.5)  # until the other folder is watched
            written(other, RULE)
            await until(lambda: keeper.policy.generation == 3 and not reloader.error)

    play(home / "tunproxy.toml", talk)
    assert "tunproxy.toml has changed: policy 3 is in force, 1 rules" in capfd.readouterr().err


def test_worker_that_is_long_in_answering_while_it_builds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine; to say that the old policy stays would be wrong."""
    monkeypatch.setattr(questions, "ANSWER_SECONDS", 0.1)

    async def both() -> None:
        loop = asyncio.get_running_loop()
        sources = sources_of(path)
        keeper = PolicyKeeper(sources)

        async def state() -> dict[str, object]:
            await asyncio.sleep(0.5)
            return keeper.state()

        ours, theirs = socket_pair()
        with closing(ours), closing(theirs):
            answer_on(loop, theirs, {"policy": state}, {"reload": lambda fd: keeper.reload(fd, loop)})
            reloader = Reloader(PolicyOptions(config=str(path)), sources, [Questions(ours)])
            assert (await reloader.reload())["generation"] == 2
            loop.remove_reader(theirs)

    path = written(tmp_path, RULE)
    asyncio.run(both())


def test_reload_without_a_descriptor_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(sources: Sources) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(reload_module, "into_memory", none_left)
            told = await reloader.answer()
        error = "cannot read the configuration again: too many open files (try again)"
        assert told == {"is_reloaded": False, "error": error, "policy": None}
        assert (await reloader.answer())["is_reloaded"] is True

    play(written(tmp_path, RULE), talk)


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


class Picky:
    """A trial that sources with a default do not pass."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    async def before(self, sources: Sources) -> None:
        pass

    async def after(self, sources: Sources, old: Sources, by: str, restores: int) -> None:
        self.told.append((by, restores))
        if sources.config.default == "REJECT":
            raise TunproxyError("it does not do")


def test_what_does_not_pass_its_trial_is_put_back(tmp_path: Path) -> None:
    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        began: list[Sources] = []
        reloader.adopted = lambda sources, generation: began.append(sources)
        reloader.trial = picky = Picky()
        old = reloader.sources
        written(tmp_path, 'default = "REJECT"\n')
        with pytest.raises(ReloadError, match=r"^it does not do$"):
            await reloader.reload("SIGHUP")
        assert (reloader.sources is old, began[-1] is old, reloader.error) == (True, True, "it does not do")
        assert (len(keeper.policy.parts.rules), keeper.policy.generation) == (1, 3)
        await reloader.again()
        assert len(keeper.policy.parts.rules) == 1, "not what the file says, which does not do"
        written(tmp_path, "")
        await reloader.use(reloader.sources, "undo to 7", 7)
        assert picky.told == [("SIGHUP", 0), ("undo to 7", 7)]
        assert (len(keeper.policy.parts.rules), reloader.error) == (1, "")

    play(written(tmp_path, RULE), talk)


def test_what_cannot_be_put_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload_module, "PUT_BACK_SECONDS", 0.0)

    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        reloader.trial = Picky()
        written(tmp_path, 'default = "REJECT"\n')

        def refuse(policy: object) -> None:
            monkeypatch.setattr(keeper, "_build", lambda *_: 1 / 0)

        keeper.adopted = refuse
        with pytest.raises(
            ReloadError, match="it does not do; what was before cannot be put back: cannot build"
        ):
            await reloader.reload()
        assert "(restart tunproxy)" in reloader.error

    play(written(tmp_path, RULE), talk)


def test_taking_back_happens_only_where_it_is_still_wanted(tmp_path: Path) -> None:
    async def talk(reloader: Reloader, keeper: PolicyKeeper) -> None:
        async def no() -> str:
            return ""

        async def yes() -> str:
            return "nobody has confirmed it"

        old = reloader.sources
        written(tmp_path, "")
        await reloader.reload()
        assert await reloader.take_back(old, no) == ""
        assert (len(keeper.policy.parts.rules), reloader.error) == (0, "")
        assert await reloader.take_back(old, yes) == "nobody has confirmed it"
        assert (len(keeper.policy.parts.rules), reloader.error) == (1, "nobody has confirmed it")

    play(written(tmp_path, RULE), talk)
