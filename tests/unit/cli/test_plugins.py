"""``tunproxy plugins``."""

import json
from pathlib import Path

import pytest
import typer
from msgspec import structs
from typer.testing import CliRunner

from tunproxy.cli import main
from tunproxy.cli.plugins import KEYS, app
from tunproxy.control import client
from tunproxy.control.config.schema import PluginsConfig
from tunproxy.control.endpoint import ALIVE, Found
from tunproxy.errors import ConfigError

GOOD = """
from tunproxy.plugin.api import Command, hookimpl

@hookimpl
def decide_flow(info):
    return None

@hookimpl
def contribute_commands():
    import typer
    app = typer.Typer(help="Say it.")

    @app.command()
    def say(word: str, loud: bool = False):
        typer.echo(word.upper() if loud else word)
        return 4

    return [Command("say", app)]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made = tmp_path / "tunproxy" / "plugins"
    made.mkdir(parents=True)
    (made / "good.py").write_text(GOOD)
    return made


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and output; raises what the command raises."""
    found = CliRunner().invoke(app, list(arguments), standalone_mode=False)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    code = found.return_value if isinstance(found.return_value, int) else found.exit_code
    return code, found.stdout


def test_list_names_plugins_and_their_hooks(folder: Path) -> None:
    code, text = run("list")
    assert code == 0
    assert f"good (folder: {folder}/good.py): loaded\n    contribute_commands\n    decide_flow\n" in text
    assert "direct (installed: tunproxy " in text


def test_list_json_has_everything(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.py").write_text("x = (")
    named = tmp_path / "named.py"
    named.write_text(GOOD.replace('"say"', '"tell"'))
    code, text = run("list", "--json", "--plugin", str(named))
    rows = {row["name"]: row for row in json.loads(text)}
    assert code == 1
    assert (rows["good"]["loaded"], rows["good"]["kind"]) == (True, "folder")
    assert (rows["named"]["loaded"], rows["named"]["kind"]) == (True, "file")
    assert (rows["bad"]["loaded"], rows["bad"]["hooks"]) == (False, [])
    assert "bad.py:1:5: '(' was never closed" in rows["bad"]["problem"]


def test_list_two_of_one_name_loads_the_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    code, text = run("list", "--json", "--plugin", str(tmp_path / "good.py"))
    assert [row["loaded"] for row in json.loads(text) if row["name"] == "good"] == [True, False]
    assert code == 1


def test_doctor_says_what_is_wrong(folder: Path) -> None:
    (folder / "bad.py").write_text("import nowhere_to_be_found")
    code, text = run("doctor")
    assert code == 1
    assert "it needs nowhere_to_be_found, which is not installed" in text
    wrong = "from tunproxy.plugin.api import hookimpl\n"
    wrong += "".join(f"@hookimpl\ndef contribute_{hook}(): return 5\n" for hook in ("upstreams", "routes"))
    (folder / "bad.py").write_text(wrong)
    told = run("doctor")[1].splitlines()
    at = next(number for number, line in enumerate(told) if line.startswith("bad "))
    assert told[at].endswith("contribute_upstreams failed: TypeError: 5 is no list of upstreams")
    assert told[at + 1] == "    contribute_routes failed: TypeError: 5 is no list of routes"
    (folder / "bad.py").unlink()
    code, text = run("doctor", "--json")
    assert code == 0
    found = {each["name"]: each for each in json.loads(text)}
    assert found["good"]["hooks"] == ["contribute_commands", "decide_flow"]
    assert found["good"]["import_seconds"] >= 0


def test_named_file_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        run("list", "--plugin", str(folder / "none.py"))


def test_new_writes_a_plugin_that_is_found(folder: Path, tmp_path: Path) -> None:
    code, text = run("new", "fresh", "--drop-in")
    assert code == 0
    assert text.splitlines()[:2] == [str(folder / "fresh.py"), str(folder / "test_fresh.py")]
    assert "fresh (folder" in run("list")[1]
    code, text = run("new", "fresh", "--into", str(tmp_path))
    assert (tmp_path / "fresh" / "pyproject.toml").is_file()
    with pytest.raises(ConfigError, match="it exists"):
        run("new", "fresh", "--into", str(tmp_path))


@pytest.mark.parametrize("arguments", [("new", "No-Good"), ("new", "x", "--into", ".", "--drop-in")])
def test_new_bad_usage_is_told(arguments: tuple[str, ...], folder: Path) -> None:
    with pytest.raises(typer.BadParameter):
        run(*arguments)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("class", "a word of Python's"),
        ("direct", "an installed plugin"),
        ("logging", "another module"),  # Python would find this one in its place
        ("sys", "another module"),
        ("pytest", "another module"),
        ("tunproxy", "another module"),
        ("conftest", "a name for tests"),
        ("test_it", "a name for tests"),
        *((key, r"a key of \[plugins\]") for key in KEYS),
    ],
)
def test_new_refuses_names_that_cannot_work(name: str, why: str, folder: Path, tmp_path: Path) -> None:
    for arguments in (("--into", str(tmp_path)), ("--drop-in",)):
        before = set(tmp_path.rglob("*"))
        with pytest.raises(typer.BadParameter, match=why):
            run("new", name, *arguments)
        assert set(tmp_path.rglob("*")) == before


def test_keys_are_those_that_the_configuration_has_beside_the_tables() -> None:
    assert set(KEYS) == {field.encode_name for field in structs.fields(PluginsConfig)}


def test_what_is_wrong_with_contributions_is_in_the_list_only(
    folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "five.py").write_text(
        "from tunproxy.plugin.api import hookimpl\n@hookimpl\ndef contribute_upstreams():\n    return 5\n"
    )
    code, text = run("list")
    assert (code, text.count("is no list of upstreams")) == (1, 1)
    assert caplog.records == []


def test_run_runs_a_plugins_command(folder: Path) -> None:
    code, listed = run("run")
    assert code == 0
    assert "  Say it.\n" in listed  # beside the commands of plugins that come with us
    assert run("run", "say", "hello", "--loud") == (4, "HELLO\n")
    with pytest.raises(typer.BadParameter, match=r"no plugin has a command 'sya' \(there are: .*\bsay\b"):
        run("run", "sya")


@pytest.mark.parametrize("of_ours", [(), ("plugins", "run")])
def test_command_that_fails_is_told_in_one_line_with_its_place(
    folder: Path, capfd: pytest.CaptureFixture[str], of_ours: tuple[str, ...]
) -> None:
    (folder / "bad.py").write_text(GOOD.replace('"say"', '"utter"').replace("word.upper()", "open(word)"))
    line = 1 + (folder / "bad.py").read_text().splitlines().index(
        "        typer.echo(open(word) if loud else word)"
    )
    assert main.run([*of_ours, "utter", "/no/such", "--loud"]) == 2
    why = "FileNotFoundError: [Errno 2] No such file or directory: '/no/such'"
    assert capfd.readouterr().err == (
        f"tunproxy: command 'utter' of a plugin failed: {why} (bad.py:{line})\n"
    )
    assert main.run([*of_ours, "utter", "hello"]) == 4
    assert main.run([*of_ours, "utter"]) == 2
    assert "missing argument" in capfd.readouterr().err


def test_list_goes_by_the_configuration(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(
        f'[plugins]\nfolder = "{folder}"\ndeny = ["good"]\n[plugins.direct]\npriority = 7\n'
    )
    text = run("list", "--config", str(tmp_path / "my.toml"))[1]
    assert "good.py): denied (plugins.deny)" in text
    assert "priority 7): loaded" in text


def test_list_says_what_a_running_tunproxy_has_suspended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Found(Path("/nowhere/tun9.sock"), ALIVE, 4711)
    told = {"plugins_suspended": {"good": {"seconds": 12.5, "last_fault": "LateError: too slow"}}}
    monkeypatch.setattr(client, "choose", lambda *which: found)
    monkeypatch.setattr(client, "fetch_status", lambda path: told)
    assert "loaded, but tun9 (process 4711): is not asked for 12.5 s: LateError: too slow" in run("list")[1]
    rows = {row["name"]: row for row in json.loads(run("list", "--json")[1])}
    assert rows["direct"]["suspended"] == ""
    assert rows["good"]["suspended"].endswith("too slow")
