"""The command line: words become settings, errors one line and an exit code."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tunproxy.cli import main
from tunproxy.control import execute, rescue, up
from tunproxy.control.capture import CaptureOptions
from tunproxy.control.settings import ExecSettings, UpSettings
from tunproxy.errors import SystemChangeError, TunproxyError
from tunproxy.version import describe


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ExecSettings | UpSettings]:
    """Collect settings instead of acting on them."""
    seen: list[ExecSettings | UpSettings] = []

    def record(settings: ExecSettings | UpSettings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(execute, "execute", record)
    monkeypatch.setattr(up, "up", record)
    return seen


def test_exec_defaults(asked: list[ExecSettings | UpSettings]) -> None:
    assert main.run(["exec", "--", "curl", "-sI", "--", "http://example.org"]) == 0
    assert asked == [ExecSettings(command=("curl", "-sI", "--", "http://example.org"))]


def test_exec_options_end_where_the_command_begins(asked: list[ExecSettings | UpSettings]) -> None:
    line = (
        "exec --mtu 1400 --mark 0x10 --bind-interface eth0 --udp-timeout 1.5 --memory 64M --host-address "
        "192.0.2.1 --host-address fd00::1 --tun t0 ls --mtu 7"
    )
    assert main.run(line.split()) == 0
    assert asked == [
        ExecSettings(
            command=("ls", "--mtu", "7"),
            mtu=1400,
            mark=16,
            bind_interface="eth0",
            udp_timeout=1.5,
            memory=64 << 20,
            host_addresses=("192.0.2.1", "fd00::1"),
            tun="t0",
        )
    ]


def test_up_defaults(asked: list[ExecSettings | UpSettings]) -> None:
    assert main.run(["up"]) == 0
    assert asked == [UpSettings()]


def test_up_options_of_what_is_captured(asked: list[ExecSettings | UpSettings]) -> None:
    options = (
        "--exclude-network 10.0.0.0/8 --include-user alice --include-user 5-9 --exclude-user 7 --forwarded "
    )
    options += "--include-interface docker0 --exclude-interface wg0 --direct-lane"
    assert main.run(["up", *options.split()]) == 0
    assert main.run(["up", "--no-forwarded"]) == 0
    assert [each.capture for each in asked if isinstance(each, UpSettings)] == [
        CaptureOptions(
            exclude_networks=("10.0.0.0/8",),
            include_users=("alice", "5-9"),
            exclude_users=("7",),
            forwarded=True,
            include_interfaces=("docker0",),
            exclude_interfaces=("wg0",),
            direct_lane=True,
        ),
        CaptureOptions(forwarded=False),
    ]


def test_up_options(asked: list[ExecSettings | UpSettings]) -> None:
    line = "up --tun t0 --route 10.0.0.0/8 --route ::/0 --worker-uid 61000 --mark 7 --memory 1G"
    assert main.run(line.split()) == 0
    assert main.run(["up", "--no-route"]) == 0
    assert asked == [
        UpSettings(tun="t0", routes=("10.0.0.0/8", "::/0"), worker_uid=61_000, mark=7, memory=1 << 30),
        UpSettings(routes=()),
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("nonsense", "no such command 'nonsense' (see tunproxy --help)\n"),
        ("sttaus", "no such command 'sttaus' (did you mean 'status'?)\n"),
        ("plugins lst", "no such command 'lst' (did you mean 'list'?)\n"),
        ("exec", "missing argument 'CMD [ARG]...' (see tunproxy exec --help)\n"),
        ("exec --mtu x -- ls", "invalid value for '--mtu': 'x' is not a number"),
        ("exec --udp-timeout soon ls", "invalid value for '--udp-timeout': 'soon' is not a number"),
        ("exec --memory lots ls", "invalid value for '--memory': 'lots' is not a size (such as 256M)"),
        ("exec --nonsense ls", "no such option: --nonsense (see tunproxy exec --help)\n"),
        ("exec --mtv 1500 ls", "no such option: --mtv (did you mean --mtu"),
        ("up extra", "got unexpected extra argument extra (see tunproxy up --help)\n"),
        ("flows --limit x", "invalid value for '--limit' / '-n': not a whole number\n"),
        ("flows --limit -4", "invalid value for '--limit' / '-n': must be greater than or equal to 0\n"),
        ("up --route ::/0 --no-route", "invalid value: --route and --no-route exclude each other"),
        ("up --mtu", "option '--mtu' requires an argument"),
        ("status --tun t0 --socket x", "invalid value: --tun and --socket exclude each other"),
        ("reload --tun t0 --pid 7", "invalid value: --tun, --socket and --pid exclude each other"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    line: str, complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run(line.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"tunproxy: {complaint}")
    assert err.count("\n") == 1


def test_error_of_ours_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise SystemChangeError("cannot do it: no reason")

    monkeypatch.setattr(up, "up", fail)
    assert main.run(["up"]) == TunproxyError.exit_code == 2
    assert capfd.readouterr() == ("", "tunproxy: cannot do it: no reason\n")


def test_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(up, "up", fail)
    with pytest.raises(ZeroDivisionError):
        main.run(["up"])


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(up, "up", interrupt)
    assert main.run(["up"]) == 130


def test_exit_code_of_a_command_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "execute", lambda _: 77 << 8)
    assert main.run(["exec", "true"]) == 77


@pytest.mark.parametrize("line", ["version", "--version"])
def test_version_is_printed(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([line]) == 0
    assert capsys.readouterr().out == f"{describe()}\n"


@pytest.mark.parametrize("line", ["", "--help"])
def test_help_names_the_commands(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(line.split()) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in ("exec", "up", "status", "version"))
    assert "..." not in out.partition("Commands:")[2], "a summary is too long to be shown"


PLUGIN = """
from tunproxy.plugin.api import REJECT, Command, RuleKind, Verdict, hookimpl

class Always:
    def match(self, facts):
        return True

@hookimpl
def contribute_rule_kinds():
    return [RuleKind("ALWAYS", lambda payload: Always())]

@hookimpl
def decide_flow(info):
    return Verdict(REJECT, "picky", why="never") if info.target_port == 23 else None

@hookimpl
def contribute_commands():
    import typer

    app = typer.Typer(help="Say it.")

    @app.command()
    def say(word: str, loud: bool = False) -> int:
        typer.echo(word.upper() if loud else word)
        return 4

    return [Command("say", app), Command("version", app)]
"""


@pytest.mark.parametrize("command", ["exec", "up"])
def test_plugin_files_go_along(asked: list[ExecSettings | UpSettings], command: str) -> None:
    line = f"{command} --plugin a.py --plugin b/c.py" + (" ls" if command == "exec" else "")
    assert main.run(line.split()) == 0
    assert asked[0].policy.plugins == ("a.py", "b/c.py")


def test_check_takes_the_file_either_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "my.toml"
    config.write_text('rules = ["DOMAN,x,DIRECT"]\n')
    assert main.run(["check", str(config)]) == 2
    said = capfd.readouterr().err
    assert f"{config}:1:11: unknown rule type 'DOMAN' (did you mean 'DOMAIN'?)" in said
    assert main.run(["check", "--config", str(config)]) == 2
    assert capfd.readouterr().err == said
    assert main.run(["check", str(config), "--config", str(config)]) == 2
    assert "exclude each other" in capfd.readouterr().err


def test_plugin_on_the_command_line_is_part_of_what_is_checked_and_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    plugin, config = tmp_path / "picky.py", tmp_path / "my.toml"
    plugin.write_text(PLUGIN)
    config.write_text('rules = ["ALWAYS,x,REJECT"]\n')
    assert main.run(["check", str(config)]) == 2
    assert "unknown rule type 'ALWAYS'" in capfd.readouterr().err
    assert main.run(["check", str(config), "--plugin", str(plugin)]) == 0
    assert "my.toml: 1 rule," in capfd.readouterr().out
    by = ["--config", str(config), "--plugin", str(plugin), "--json"]
    assert main.run(["explain", "192.0.2.1:23", *by]) == 0
    told = json.loads(capfd.readouterr().out)
    assert [each["name"] for each in told["plugins"]] == ["picky"]
    assert told["verdict"]["upstream"] == "picky"
    assert main.run(["explain", "192.0.2.1:80", *by]) == 0
    told = json.loads(capfd.readouterr().out)
    assert [each["result"] for each in told["rules"]] == ["matched"]
    assert told["verdict"]["upstream"] == "reject"


def test_command_of_a_plugin_is_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "tunproxy" / "plugins"
    folder.mkdir(parents=True)
    (folder / "picky.py").write_text(PLUGIN)
    assert main.run(["say", "hello", "--loud"]) == 4
    assert capfd.readouterr().out == "HELLO\n"
    assert main.run(["version"]) == 0
    assert capfd.readouterr().out == f"{describe()}\n"
    assert main.run(["sya"]) == 2
    assert "no such command 'sya'" in capfd.readouterr().err.lower()


def test_commands_of_ours_load_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunproxy.cli import plugins

    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("a plugin is loaded")

    monkeypatch.setattr(plugins, "_load", fail)
    assert main.run(["version"]) == 0
    assert main.run(["--help"]) == 0


def test_help_begins_with_what_is_used_most(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    lines = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["exec", "up", "status"]
    assert lines[-1] == "  Plugins have commands, too: tunproxy plugins run names them."


@pytest.mark.parametrize("group", ["rules", "plugins", "service"])
def test_group_without_a_command_shows_its_help(group: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run([group]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"Usage: tunproxy {group} ")
    assert "\nCommands:\n" in err
    assert "..." not in err.partition("Commands:")[2], "a summary is too long to be shown"


def test_defaults_that_help_shows_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["exec", "--help"]) == 0
    assert "[default: (256M)]" in " ".join(capsys.readouterr().out.split())
    assert main.run(["explain", "--help"]) == 0
    assert "default: -1" not in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--uid", "--flow"])
def test_number_that_is_none_is_told_in_our_words(option: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["explain", option, "joe"]) == 2
    assert capfd.readouterr().err == f"tunproxy: invalid value for '{option}': 'joe' is not a number\n"


def test_check_tells_what_is_wrong_with_a_plugin_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    config = tmp_path / "my.toml"
    config.write_text('[plugins]\nfolder = "plugins"\n')
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "five.py").write_text(
        "from tunproxy.plugin.api import hookimpl\n"
        "@hookimpl\ndef contribute_upstreams():\n    return 5\n"
        "@hookimpl\ndef contribute_upstream_types():\n    return 6\n"
    )
    main.run(["check", str(config)])
    lines = [line for line in capfd.readouterr().err.splitlines() if "five" in line]
    assert lines == [
        "tunproxy: warning: plugin five contribute_upstreams failed: TypeError: 5 is no list of upstreams",
        "tunproxy: warning: plugin five contribute_upstream_types failed: "
        "TypeError: 6 is no list of upstream types",
    ]


def test_check_tells_of_options_of_plugins_and_of_the_device_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    config = tmp_path / "my.toml"
    config.write_text("[plugins.log]\nfil = 'x'\n")
    assert main.run(["check", str(config)]) == 0
    assert f"tunproxy: warning: {config}:2:8: plugin log cannot be configured:" in capfd.readouterr().err
    config.write_text("[device]\nmemory = '1X'\nmtu = 5\n")
    assert main.run(["check", str(config)]) == 2
    told = capfd.readouterr().err
    assert f"{config}:2:11: '1X' is not a size" in told
    assert f"{config}:3:7: cannot use mtu 5" in told


def test_want_of_memory_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def none_left(options: object, **_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("tunproxy.control.config.sources.read_sources", none_left)
    assert main.run(["check"]) == 2
    assert capfd.readouterr().err == "tunproxy: out of memory (allow it more, or leave rule sets out)\n"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "nothing was left\n"),
        (["9 policy rules", "/run/x.sock"], "removed 9 policy rules, /run/x.sock\n"),
    ],
)
def test_rescue_says_what_it_removed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], found: list[str], said: str
) -> None:
    monkeypatch.setattr(rescue, "rescue", lambda: found)
    assert main.run(["rescue"]) == 0
    assert capfd.readouterr() == (said, "")


def test_check_tells_of_plugins_also_where_the_configuration_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    plugin, config = tmp_path / "mine.py", tmp_path / "my.toml"
    plugin.write_text("import no_such_module_x\n")
    config.write_text('[upstreams.a]\ntype = "mine"\n')
    assert main.run(["check", str(config), "--plugin", str(plugin)]) == 2
    said = capfd.readouterr().err
    assert said.startswith("tunproxy: warning: plugin mine cannot be imported: ModuleNotFoundError: ")
    assert f"{config}:2:9: there is no type of upstream 'mine'" in said


def test_rescue_after_the_service_says_that_a_kill_switch_holds(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def after(environment: Mapping[str, str]) -> tuple[list[str], bool]:
        asked.append(environment["SERVICE_RESULT"])
        return ["/run/x.sock"], True

    monkeypatch.setenv("SERVICE_RESULT", "signal")
    monkeypatch.setattr(rescue, "rescue_after_service", after)
    assert main.run(["rescue", "--after-stop"]) == 0
    assert capfd.readouterr() == (f"removed /run/x.sock\n{rescue.HOLDS}\n", "")
    assert asked == ["signal"]
