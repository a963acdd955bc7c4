"""Checks: what they may be, and that each is run within its time."""

import asyncio
import socket
import sys
import time

import pytest

from tunproxy.control.generations.checks import MOST, argv_of, failures, problem_with
from tunproxy.errors import ConfigError


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("https://www.example.com/x?y=1", ["url", "https://www.example.com/x?y=1", "2"]),
        ("192.0.2.7:22", ["tcp", "192.0.2.7", "22", "2"]),
        ("[2001:db8::1]:22", ["tcp", "2001:db8::1", "22", "2"]),
        ("example.com:443", ["tcp", "example.com", "443", "2"]),
        (" example.com ", ["name", "example.com", "2"]),
        ("run: check -q 'a b'", ["run", "2", "check", "-q", "a b"]),
    ],
)
def test_check_is_a_command(check: str, words: list[str]) -> None:
    assert argv_of(check, 2)[4:] == words


BAD = (
    "192.0.2.7", "::1", "[::1]", "[192.0.2.7]:5", "ftp://x/", "http://", "http://[", "http://a b/", "a b",
    ":1", "x:0", "x:65536", "x:1x", "", "run:", "run: 'x", "-x", "a..b",
)  # fmt: skip


@pytest.mark.parametrize("check", BAD)
def test_what_is_no_check_is_told(check: str) -> None:
    with pytest.raises(ConfigError):
        argv_of(check, 1)
    found = problem_with(["example.com", check])
    assert found is not None
    assert found[0] == 1


def test_there_may_not_be_too_many() -> None:
    assert problem_with(["a.example"] * MOST) is None
    assert problem_with(["a.example"] * (MOST + 1)) == (MOST, f"more than {MOST} checks")


def failed(*checks: str, seconds: float = 20, patient: bool = False) -> dict[str, str]:
    return dict(asyncio.run(failures(checks, seconds, patient=patient)))


def test_commands_are_judged_by_their_exit_code_and_last_line() -> None:
    python = f"run: {sys.executable} -c"
    checks = [
        "run: true",
        "run: false",
        "run: /nowhere/at-all",
        f"{python} 'import sys; print(\"one\\ntwo\", file=sys.stderr); sys.exit(3)'",
    ]
    assert list(failed(*checks).values()) == [
        "exit code 1",
        "/nowhere/at-all cannot be run: no such file or directory",
        "two",
    ]


def test_time_is_bounded_and_what_was_started_ends() -> None:
    began = time.monotonic()
    found = failed("run: sh -c 'sleep 60 & sleep 60'", "run: sh -c 'sleep 60 & exit 0'", seconds=4)
    assert list(found.values()) == ["no answer in 4 s"]
    assert time.monotonic() - began < 40


def test_what_a_command_says_is_bounded() -> None:
    found = failed("run: sh -c 'yes >&2; exit 4'", seconds=20)
    assert len(str(found)) < 1000


def test_ports_are_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            closed = other.getsockname()[1]
            found = failed(f"127.0.0.1:{port}", f"127.0.0.1:{closed}")
    assert found == {f"127.0.0.1:{closed}": "connection refused"}


def test_patient_one_tries_again(tmp_path: object) -> None:
    check = f"run: sh -c 'test -e {tmp_path}/there || {{ touch {tmp_path}/there; exit 1; }}'"
    assert failed(check, patient=True) == {}
    assert failed("run: false", seconds=3, patient=True) == {"run: false": "exit code 1"}
