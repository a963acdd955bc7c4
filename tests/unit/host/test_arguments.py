"""Secrets of the command line are not seen by others, and everything else is."""

import subprocess
import sys

import pytest

from tunproxy.host import arguments
from tunproxy.host.arguments import hide_arguments

SHOW = (
    "import sys; from tunproxy.host.arguments import hide_arguments; hide_arguments(sys.argv[1].split());"
    "import os; sys.stdout.write(open('/proc/self/cmdline').read()); sys.stdout.flush();"
    "pid = os.fork();\n"
    "if pid == 0: sys.stdout.write(open('/proc/self/cmdline').read()); sys.stdout.flush(); os._exit(0)\n"
    "os.waitpid(pid, 0)"
)


def shown(secrets: str, *more: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW, secrets, *more], capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")


def test_secret_is_hidden_wherever_it_stands_and_from_children_too() -> None:
    words = shown("hunter2", "socks5://joe:hunter2@h:1", "hunter2hunter2", "other")
    assert words.count("socks5://joe:*******@h:1") == 2
    assert words.count("*" * 14) == 2
    assert words.count("other") == 2
    assert not any("hunter2" in word for word in words)


def test_secret_of_several_octets_a_character_is_hidden() -> None:
    assert shown("pässwörd", "--upstream=pässwörd")[4] == "--upstream=**********"


def test_nothing_to_hide_changes_nothing() -> None:
    assert shown("nowhere", "a", "b")[4:6] == ["a", "b"]
    hide_arguments(["", "no such word in this command line"])


def test_unknown_place_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "_place", lambda: (0, 0))
    hide_arguments(["python"])
