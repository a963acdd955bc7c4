"""The command line: words become settings, errors one line and an exit code."""

import pytest

from tunproxy.cli import main
from tunproxy.control import execute, up
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
        "exec --mtu 1400 --mark 0x10 --bind-interface eth0 --udp-timeout 1.5 --host-address 192.0.2.1 "
        "--host-address fd00::1 --tun t0 ls --mtu 7"
    )
    assert main.run(line.split()) == 0
    assert asked == [
        ExecSettings(
            command=("ls", "--mtu", "7"),
            mtu=1400,
            mark=16,
            bind_interface="eth0",
            udp_timeout=1.5,
            host_addresses=("192.0.2.1", "fd00::1"),
            tun="t0",
        )
    ]


def test_up_defaults(asked: list[ExecSettings | UpSettings]) -> None:
    assert main.run(["up"]) == 0
    assert asked == [UpSettings()]


def test_up_options(asked: list[ExecSettings | UpSettings]) -> None:
    line = "up --tun t0 --route 10.0.0.0/8 --route ::/0 --worker-uid 61000 --mark 7"
    assert main.run(line.split()) == 0
    assert main.run(["up", "--no-route"]) == 0
    assert asked == [
        UpSettings(tun="t0", routes=("10.0.0.0/8", "::/0"), worker_uid=61_000, mark=7),
        UpSettings(routes=()),
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("nonsense", "no such command 'nonsense'"),
        ("exec", "missing argument"),
        ("exec --mtu x -- ls", "invalid value for '--mtu': 'x' is not a number"),
        ("exec --udp-timeout soon ls", "invalid value for '--udp-timeout': 'soon' is not a number"),
        ("exec --nonsense ls", "no such option: --nonsense"),
        ("up extra", "got unexpected extra argument"),
        ("up --route ::/0 --no-route", "invalid value: --route and --no-route exclude each other"),
        ("up --mtu", "option '--mtu' requires an argument"),
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
    assert all(f"\n  {command} " in out for command in ("exec", "up", "version"))
    assert "..." not in out.partition("Commands:")[2], "a summary is too long to be shown"
