"""Entering new namespaces, in child processes."""

import os
import socket
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.errors import SystemChangeError
from tunproxy.host import libc, namespaces, sysctl

pytestmark = needs_namespaces
PR_SET_DUMPABLE = 4  # linux/prctl.h: else our files in /proc are root's after a change of user


def become_ordinary() -> None:
    os.setgroups([])
    os.setresgid(61_001, 61_001, 61_001)
    os.setresuid(61_000, 61_000, 61_000)
    libc.prctl(PR_SET_DUMPABLE, 1)


def links() -> dict[str, str]:
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "user")}


def test_root_gets_network_and_mounts_but_no_user_namespace() -> None:
    def check() -> None:
        before = links()
        namespaces.enter_new_namespaces()
        after = links()
        assert {kind for kind in before if before[kind] != after[kind]} == {"net", "mnt"}

    isolated(check)


def test_ordinary_user_stays_the_same_user_in_a_user_namespace() -> None:
    def check() -> None:
        become_ordinary()
        before = links()
        namespaces.enter_new_namespaces()
        after = links()
        assert {kind for kind in before if before[kind] != after[kind]} == {"net", "mnt", "user"}
        assert (os.getuid(), os.getgid()) == (61_000, 61_001)
        assert Path("/etc/passwd").stat().st_uid == 65_534

    isolated(check)


def test_mounts_made_inside_stay_inside(tmp_path: Path) -> None:
    def check() -> None:
        namespaces.enter_new_namespaces()
        libc.mount("tmpfs", str(tmp_path), "tmpfs", 0)
        (tmp_path / "inside").touch()

    isolated(check)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ordinary", [False, True])
def test_ping_sockets_are_allowed_afterwards(ordinary: bool) -> None:
    def check() -> None:
        if ordinary:
            become_ordinary()
        namespaces.enter_new_namespaces()
        assert not sysctl.allows_ping(os.getgid())
        namespaces.allow_ping()
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()

    isolated(check)


def test_user_namespaces_used_up_says_what_to_do() -> None:
    def check() -> None:
        become_ordinary()
        namespaces.enter_new_namespaces()
        assert sysctl.write("user/max_user_namespaces", "0")
        libc.capset(effective=0, permitted=0)
        with pytest.raises(
            SystemChangeError, match=r"^cannot make a user namespace: this host allows no more"
        ):
            namespaces.enter_new_namespaces()

    isolated(check)
