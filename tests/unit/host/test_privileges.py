"""Giving up rights, in child processes."""

import errno
import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.errors import SystemChangeError
from tunproxy.host import libc, privileges
from tunproxy.host.privileges import (
    CAP_KILL,
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    CAP_SETGID,
    CAP_SETUID,
    CAP_SYS_ADMIN,
    LEAST_DESCRIPTORS,
    SocketNeeds,
)

NOTHING = SocketNeeds()


def status() -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())


@needs_namespaces
def test_become_leaves_no_capability_no_group_and_no_way_back() -> None:
    def check() -> None:
        os.setgroups([5, 6])
        privileges.become(61_000, 61_001, NOTHING)
        assert os.getresuid() == (61_000,) * 3
        assert os.getresgid() == (61_001,) * 3
        assert os.getgroups() == []
        assert int(status()["CapPrm"], 16) == int(status()["CapEff"], 16) == 0
        assert status()["NoNewPrivs"] == "1"
        assert not privileges.has_capabilities(CAP_NET_ADMIN)
        with pytest.raises(PermissionError):
            os.setuid(0)

    isolated(check)


@needs_namespaces
@pytest.mark.parametrize("uid", [0, 61_000])
def test_become_keeps_one_capability_for_a_mark(uid: int) -> None:
    def check() -> None:
        privileges.become(uid, uid, SocketNeeds(mark=7))
        assert int(status()["CapPrm"], 16) in (1 << CAP_NET_RAW, 1 << CAP_NET_ADMIN)
        with socket.socket() as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)

    isolated(check)


FEW = sum(1 << each for each in (CAP_KILL, CAP_NET_ADMIN, CAP_SETGID, CAP_SETUID))


@needs_namespaces
def test_become_needs_no_right_that_the_worker_does_not_use() -> None:
    """Root in a container is often without NET_RAW, which only marks take, and those ADMIN gives as well."""

    def check() -> None:
        libc.capset(effective=FEW, permitted=FEW)
        privileges.become(61_000, 61_000, NOTHING)
        assert int(status()["CapPrm"], 16) == 0

    def check_mark() -> None:
        libc.capset(effective=FEW, permitted=FEW)
        privileges.become(61_000, 61_000, SocketNeeds(mark=7))
        assert int(status()["CapPrm"], 16) == 1 << CAP_NET_ADMIN

    isolated(check)
    isolated(check_mark)


@needs_namespaces
def test_what_is_lacked_for_workers_is_named() -> None:
    def check() -> None:
        assert privileges.lacked_for_workers() == []
        some = 1 << CAP_NET_ADMIN | 1 << CAP_SETUID
        libc.capset(effective=some, permitted=some)
        assert privileges.lacked_for_workers() == ["CAP_SETGID", "CAP_KILL"]

    isolated(check)


@needs_namespaces
def test_become_impossible_says_so() -> None:
    def check() -> None:
        libc.capset(effective=0, permitted=0)
        with pytest.raises(
            SystemChangeError, match=r"^cannot become uid 61000: .*choose another with --worker-uid"
        ):
            privileges.become(61_000, 61_000, NOTHING)

    isolated(check)


@needs_namespaces
def test_worker_dies_with_its_parent_after_its_change_of_user() -> None:
    def check() -> None:
        reading, writing = os.pipe()
        if os.fork() == 0:
            pid = os.fork()
            if pid == 0:
                privileges.become(61_000, 61_000, NOTHING)
                os.write(writing, f"{os.getpid()}\n".encode())
                time.sleep(30)
            os.read(reading, 0)
            time.sleep(30)
        os.close(writing)
        worker = int(os.read(reading, 100))
        parent = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)
        assert os.read(reading, 1) == b"", "the worker outlived its parent"

    isolated(check)


def test_die_with_a_parent_that_is_gone_ends_at_once() -> None:
    pid = os.fork()
    if pid == 0:
        privileges.die_with(os.getppid() + 100_000)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


@needs_namespaces
def test_has_capabilities_asks_for_all() -> None:
    def check() -> None:
        assert privileges.has_capabilities(CAP_NET_ADMIN, CAP_SYS_ADMIN)
        libc.capset(effective=1 << CAP_NET_ADMIN, permitted=1 << CAP_NET_ADMIN)
        assert privileges.has_capabilities(CAP_NET_ADMIN)
        assert not privileges.has_capabilities(CAP_NET_ADMIN, CAP_SYS_ADMIN)

    isolated(check)


@needs_namespaces
def test_needs_are_met_with_the_right_capability_only() -> None:
    def check() -> None:
        assert SocketNeeds(mark=7, interface="lo").are_met()
        libc.capset(effective=0, permitted=0)
        assert NOTHING.are_met()
        assert not SocketNeeds(mark=7).are_met()

    isolated(check)


def test_needs_describe_themselves() -> None:
    assert SocketNeeds(16, "eth0").describe() == "mark sockets with 0x10 and bind sockets to eth0"


def test_worker_ids_without_account_are_the_number_itself() -> None:
    assert privileges.worker_ids(61_234) == (61_234, 61_234)


def test_worker_ids_of_an_account_are_the_accounts() -> None:
    import pwd

    account = pwd.getpwall()[-1]
    assert privileges.worker_ids(account.pw_uid) == (account.pw_uid, pwd.getpwuid(account.pw_uid).pw_gid)


def test_worker_ids_default_is_the_user_or_our_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "WORKER_USER", "no-such-user-here")
    assert privileges.worker_ids(None) == (privileges.WORKER_UID, privileges.WORKER_UID)
    monkeypatch.setattr(privileges, "WORKER_USER", "root")
    assert privileges.worker_ids(None) == (0, 0)


@needs_namespaces
def test_descriptor_limit_is_raised_as_far_as_it_goes() -> None:
    def check() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
        libc.capset(effective=0, permitted=0)
        privileges.raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (128, 128)

    isolated(check)


@needs_namespaces
@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [(12, 128, (LEAST_DESCRIPTORS, 128)), (64, 64, (64, 64)), (200, 300, (200, 300))],
)
def test_few_descriptors_are_made_enough_and_enough_are_left(
    soft: int, hard: int, after: tuple[int, int]
) -> None:
    def check() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        libc.capset(effective=0, permitted=0)
        privileges.need_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == after

    isolated(check)


@needs_namespaces
def test_too_few_descriptors_are_told_before_anything_fails() -> None:
    def check() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        libc.capset(effective=0, permitted=0)
        with pytest.raises(SystemChangeError) as caught:
            privileges.need_descriptors()
        why = "only 20 open files are allowed, and 64 are needed"
        assert str(caught.value) == (
            f"cannot start: {why} (allow more: ulimit -n, or LimitNOFILE= of a unit)"
        )

    isolated(check)


def test_become_without_descriptors_is_not_told_to_be_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(option: int, value: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(libc, "prctl", refuse)
    with pytest.raises(SystemChangeError, match=r"too many open files \(allow more: ulimit -n\)$"):
        privileges.become(61_000, 61_000, SocketNeeds())
