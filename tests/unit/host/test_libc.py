"""System calls through the C library, with the real kernel."""

import errno
import os
import signal
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host import libc


def test_error_becomes_oserror_with_its_number() -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        libc.mount("/nowhere", "/nowhere", "", libc.MS_BIND)
    assert caught.value.errno in (errno.ENOENT, errno.EPERM)


@needs_namespaces
def test_mount_and_unmount(tmp_path: Path) -> None:
    def check() -> None:
        libc.mount("tmpfs", str(tmp_path), "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=0711")
        assert tmp_path.stat().st_mode & 0o777 == 0o711
        libc.unmount(str(tmp_path))
        assert tmp_path.stat().st_mode & 0o777 != 0o711

    isolated(check)


@needs_namespaces
def test_capset_and_prctl_change_what_the_kernel_shows() -> None:
    def check() -> None:
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        libc.capset(effective=1 << 13, permitted=1 << 13 | 1 << 40)
        status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        assert (int(status["CapEff"], 16), int(status["CapPrm"], 16)) == (1 << 13, 1 << 13 | 1 << 40)
        assert status["NoNewPrivs"] == "1"
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)

    isolated(check)


@needs_namespaces
def test_unshare_makes_a_new_network() -> None:
    def check() -> None:
        before = os.readlink("/proc/self/ns/net")
        libc.unshare(libc.CLONE_NEWNET)
        assert os.readlink("/proc/self/ns/net") != before

    isolated(check)
