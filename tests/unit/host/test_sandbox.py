"""What a confined process can and cannot do: in a child of its own, as it is for good."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host import libc, sandbox
from tunproxy.host.sandbox import ASK_VERSION, CREATE_RULESET, Sandbox

pytestmark = needs_namespaces


def has_landlock() -> bool:
    with contextlib.suppress(OSError):
        return sandbox._call(CREATE_RULESET, None, 0, ASK_VERSION) > 0
    return False


def refused(attempt: Callable[[], object]) -> int | None:
    """Return the errno that attempt fails with, None where it works."""
    try:
        attempt()
    except OSError as error:
        return error.errno
    return None


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
def test_confined_process_writes_nothing_but_where_it_may_and_runs_nothing(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (there / "old").write_text("x")

    def check() -> None:
        opened = os.open(there / "old", os.O_RDWR)
        found = Sandbox([here, tmp_path / "nowhere"]).confine()
        assert found["landlock"] == "on"
        assert refused(lambda: (there / "new").write_text("x")) == errno.EACCES
        assert refused(lambda: (there / "old").write_text("x")) == errno.EACCES
        assert refused((there / "old").unlink) == errno.EACCES
        assert refused((there / "folder").mkdir) == errno.EACCES
        assert refused(lambda: os.open("/dev/net/tun", os.O_RDWR)) == errno.EACCES
        assert refused(lambda: subprocess.run([sys.executable, "-V"], check=True)) in (
            errno.EACCES,
            errno.EPERM,
        )
        assert refused((here / "new").touch) is None
        assert (there / "old").read_text() == "x"
        os.write(opened, b"y")
        Path(os.devnull).write_text("x")
        os.close(os.memfd_create("x"))

    isolated(check)
    assert (there / "old").read_text() == "y"


def test_confined_process_still_makes_sockets_and_threads() -> None:
    def check() -> None:
        Sandbox().confine()
        with socket.create_server(("127.0.0.1", 0)) as server:
            with contextlib.closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)):
                pass
            assert server.getsockname()[1] > 0
        said: list[int] = []
        thread = threading.Thread(target=said.append, args=(1,))
        thread.start()
        thread.join()
        assert said == [1]

    isolated(check)


class Filter:
    """Plays libseccomp's binding."""

    ALLOW = 0
    loaded: list[str]

    class Attr:
        CTL_SSB = 7
        CTL_OPTIMIZE = 8

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.rules: list[str] = []
        self.loaded = []

    def ERRNO(self, number: int) -> int:  # the library's name
        assert number == errno.EPERM
        return number

    def SyscallFilter(self, default: int) -> "Filter":
        assert default == self.ALLOW
        return self

    def set_attr(self, attribute: int, value: int) -> None:
        raise ValueError("an older library")

    def add_rule(self, action: int, name: str) -> None:
        if name == self.refused:
            raise RuntimeError("no such call on this machine")
        self.rules.append(name)

    def load(self) -> None:
        self.loaded = list(self.rules)


def test_calls_are_forbidden_with_what_the_library_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Filter(refused="uselib")
    monkeypatch.setattr(sandbox, "find_binding", lambda: library)
    box = Sandbox()
    monkeypatch.setattr(box, "_restrict_files", lambda: None)
    assert box.confine() == {"landlock": "on", "seccomp": "on"}
    assert {"ptrace", "bpf", "execve", "mount"} <= set(library.loaded)
    assert "uselib" not in library.loaded


def test_what_cannot_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(number: int, *arguments: object) -> int:
        raise OSError(errno.ENOSYS, "x")

    monkeypatch.setattr(sandbox, "_call", missing)
    monkeypatch.setattr(sandbox, "find_binding", lambda: None)
    assert Sandbox().confine() == {
        "landlock": "not in this kernel",
        "seccomp": "libseccomp or its binding for python (pyseccomp) is missing",
    }


@pytest.mark.skipif(sandbox.find_binding() is None, reason="no binding of libseccomp is installed")
def test_kernel_refuses_forbidden_calls() -> None:
    def check() -> None:
        assert Sandbox().confine()["seccomp"] == "on"
        assert refused(lambda: libc.unshare(libc.CLONE_NEWNET)) == errno.EPERM
        assert refused(lambda: libc.mount("none", "/", "", libc.MS_REC | libc.MS_SLAVE)) == errno.EPERM

    isolated(check)


def test_binding_that_is_missing_or_has_no_library_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "binding_without_library.py").write_text("raise RuntimeError('Unable to find libseccomp')")
    (tmp_path / "binding_that_works.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    find = sandbox.find_binding.__wrapped__
    monkeypatch.setattr(sandbox, "BINDINGS", ("no_such_binding", "binding_without_library"))
    assert find() is None
    monkeypatch.setattr(sandbox, "BINDINGS", (*sandbox.BINDINGS, "binding_that_works"))
    assert find().__name__ == "binding_that_works"
