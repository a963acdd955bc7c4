"""What is left of root's capabilities, in child processes."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host import kept_rights, libc
from tunproxy.host.kept_rights import (
    CAP_BPF,
    CAP_DAC_OVERRIDE,
    CAP_FOWNER,
    CAP_NET_BIND_SERVICE,
    KEPT,
    belong_to_others,
    keep,
)
from tunproxy.host.privileges import CAP_NET_ADMIN, CAP_SYS_ADMIN, permitted
from tunproxy.host.service_unit import UNIT, packaged

MASK = sum(1 << each for each in KEPT)


def masks(status: str) -> dict[str, int]:
    return {name: int(mask, 16) for name, mask in re.findall(r"(?m)^(Cap\w+):\t([0-9a-f]+)$", status)}


@needs_namespaces
def test_kept_is_what_is_needed_and_programs_that_are_run_get_no_more() -> None:
    def check() -> None:
        keep()
        ours = masks(Path("/proc/self/status").read_text())
        run = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True)
        theirs = masks(run.stdout)
        for found in (ours, theirs):
            assert found["CapPrm"] == found["CapEff"] == found["CapBnd"] == MASK & found["CapBnd"]
            assert found["CapInh"] == found["CapAmb"] == 0
        assert ours["CapPrm"] >> CAP_NET_ADMIN & 1
        with pytest.raises(PermissionError):
            os.mknod("device", 0o020600, os.makedev(1, 3))
        keep(listens=True, writes_for_others=True)
        assert permitted() == ours["CapPrm"], "what was given up does not come back"

    isolated(check)


@needs_namespaces
def test_more_is_kept_for_files_of_others_and_for_a_low_port() -> None:
    def check() -> None:
        keep(writes_for_others=True, listens=True)
        assert permitted() == MASK | 1 << CAP_DAC_OVERRIDE | 1 << CAP_FOWNER | 1 << CAP_NET_BIND_SERVICE

    isolated(check)


@needs_namespaces
def test_kernel_that_does_not_know_bpf_as_a_capability_takes_another_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "last").write_text("37\n")
    monkeypatch.setattr(kept_rights, "LAST_CAP", tmp_path / "last")

    def check() -> None:
        keep()
        assert permitted() & ~(1 << CAP_BPF) == MASK & ~(1 << CAP_BPF) | 1 << CAP_SYS_ADMIN

    isolated(check)


@needs_namespaces
def test_what_is_not_there_is_not_missed() -> None:
    def check() -> None:
        libc.capset(effective=1 << CAP_NET_ADMIN, permitted=1 << CAP_NET_ADMIN)
        keep()
        assert permitted() == 1 << CAP_NET_ADMIN

    isolated(check)


def test_kept_is_what_the_unit_leaves_a_service() -> None:
    (line,) = re.findall(r"(?m)^CapabilityBoundingSet=(.*)$", packaged(UNIT))
    assert {getattr(kept_rights, name, None) for name in line.split()} == set(KEPT)


def test_whose_folder_files_are_in_is_told_where_they_do_not_exist_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "tunproxy.toml", tmp_path / "new" / "folder" / "fake-ip"]
    assert not belong_to_others(paths)
    assert not belong_to_others([])
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    for path in paths:
        assert belong_to_others([path])
