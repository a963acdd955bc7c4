"""Control groups whose sockets are marked, in the real kernel."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.errors import SystemChangeError
from tunproxy.host import cgroups, libc
from tunproxy.host.cgroups import EXCLUDED, INCLUDED, GroupMarks, hierarchy

ROOT = hierarchy()
needs_groups = pytest.mark.skipif(
    ROOT is None or not os.access(ROOT, os.W_OK), reason="needs control groups of the second version"
)


@contextlib.contextmanager
def group(name: str) -> Iterator[str]:
    """Make a control group below the root; yield its path."""
    assert ROOT is not None
    path = f"tunproxy-{os.getpid()}-{name}"
    (ROOT / path).mkdir()
    try:
        yield path
    finally:
        (ROOT / path).rmdir()


def mark_in(path: str) -> int:
    """Return the mark of a socket that a process in a group makes."""
    assert ROOT is not None
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        (ROOT / path / "cgroup.procs").write_text(str(os.getpid()))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as made:
            os.write(writing, str(made.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return int(told)


@needs_namespaces
@needs_groups
def test_sockets_made_in_the_group_and_below_are_marked_while_it_is_held() -> None:
    with group("a") as inside, group("b") as other, group("c") as beside:
        marks = GroupMarks({f"/{inside}": EXCLUDED, other: INCLUDED})
        assert (mark_in(inside), mark_in(other), mark_in(beside)) == (EXCLUDED, INCLUDED, 0)
        marks.close()
        marks.close()
        assert (mark_in(inside), mark_in(other)) == (0, 0)


@needs_namespaces
@needs_groups
def test_bits_of_a_group_and_of_those_above_it_come_together() -> None:
    assert ROOT is not None
    with group("outer") as outer:
        inner = f"{outer}/inner"
        (ROOT / inner).mkdir()
        try:
            marks = GroupMarks({outer: INCLUDED, inner: EXCLUDED})
            assert (mark_in(outer), mark_in(inner)) == (INCLUDED, INCLUDED | EXCLUDED)
            marks.close()
        finally:
            (ROOT / inner).rmdir()


@needs_namespaces
@needs_groups
def test_group_that_is_not_there_is_one_line_and_nothing_is_held() -> None:
    with group("there") as there:
        with pytest.raises(SystemChangeError) as failed:
            GroupMarks({there: EXCLUDED, "not/here.slice": EXCLUDED})
        assert str(failed.value) == (
            "cannot mark the sockets of control group 'not/here.slice': no such file or directory "
            f"(its path below {ROOT}; systemd-cgls shows them)"
        )
        assert mark_in(there) == 0


@needs_namespaces
@needs_groups
def test_without_rights_it_says_what_is_needed() -> None:
    def check() -> None:
        libc.capset(effective=0, permitted=0)
        with pytest.raises(SystemChangeError, match=r"not permitted \(needs CAP_BPF"):
            GroupMarks({"/": EXCLUDED})

    isolated(check)


def test_without_hierarchy_or_library_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
    assert hierarchy(mounts) == Path("/sys/fs/cgroup")
    mounts.write_text("cgroup /sys/fs/cgroup cgroup rw 0 0\n")
    assert hierarchy(mounts) is None
    assert hierarchy(tmp_path / "none") is None
    monkeypatch.setattr(cgroups, "hierarchy", lambda: None)
    with pytest.raises(SystemChangeError, match=r"there is no hierarchy of the second version"):
        GroupMarks({"/": EXCLUDED})
    monkeypatch.setattr(cgroups, "LIBRARY", "libbpf-of-nobody.so.1")
    with pytest.raises(SystemChangeError, match=r"is missing \(install libbpf1\)$"):
        GroupMarks({"/": EXCLUDED}, tmp_path)
