"""The service on a machine that is played: what is written, what systemd is told, and that all is undone."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tunproxy.errors import ConfigError, SystemChangeError
from tunproxy.host.service import (
    Done,
    Service,
    program_words,
    run_tool,
    who_else_may_write,
)
from tunproxy.host.service_unit import ACCOUNTS, UNIT, packaged, unit_text

PROGRAM = ["/srv/venv/bin/tunproxy"]


class Machine:
    """Files below a folder, and the tools that were run; those in failing complain."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[str] = []
        self.failing: dict[str, str] = {}
        self.out = ""
        (root / "run/systemd/system").mkdir(parents=True)
        self.service = Service(self.tool, root)

    def tool(self, argv: Sequence[str]) -> Done:
        line = " ".join(argv).replace(str(self.root), "")
        self.ran.append(line)
        why = next((why for start, why in self.failing.items() if line.startswith(start)), None)
        return Done(0, self.out, "") if why is None else Done(1, "", why)

    def add_package(self) -> Path:
        path = self.root / "usr/lib/systemd/system" / UNIT
        path.parent.mkdir(parents=True)
        path.write_text(packaged(UNIT))
        return path

    def files(self) -> dict[str, str]:
        found = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): path.read_text() for path in found}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Machine(tmp_path)


def test_install_writes_unit_and_accounts_and_enables(machine: Machine) -> None:
    said = list(machine.service.install(PROGRAM, ["--mark", "7"]))
    assert machine.files() == {
        "etc/systemd/system/tunproxy.service": unit_text(PROGRAM, ["--mark", "7"]),
        "etc/sysusers.d/tunproxy.conf": packaged(ACCOUNTS),
    }
    assert machine.ran == [
        "systemd-sysusers /etc/sysusers.d/tunproxy.conf",
        "systemctl daemon-reload",
        "systemctl enable tunproxy.service",
    ]
    assert said[0] == f"wrote {machine.root}/etc/sysusers.d/tunproxy.conf"
    assert said[1] == f"wrote {machine.root}/etc/systemd/system/tunproxy.service"
    assert said[-1] == "start it now with: systemctl start tunproxy.service"


def test_install_now_starts_it(machine: Machine) -> None:
    said = list(machine.service.install(PROGRAM, now=True))
    assert machine.ran[-1] == "systemctl restart tunproxy.service"
    assert said[-1] == "started: everything goes through tunproxy"


def test_install_again_replaces_what_it_wrote(machine: Machine) -> None:
    list(machine.service.install(PROGRAM))
    list(machine.service.install(["/opt/bin/tunproxy"]))
    assert machine.files()["etc/systemd/system/tunproxy.service"] == unit_text(["/opt/bin/tunproxy"])


@pytest.mark.parametrize(
    "step", ["systemd-sysusers", "systemctl daemon-reload", "systemctl enable", "systemctl restart"]
)
def test_install_that_fails_undoes_what_was_done(machine: Machine, step: str) -> None:
    machine.failing[step] = "no reason"
    with pytest.raises(SystemChangeError, match="no reason"):
        list(machine.service.install(PROGRAM, now=True))
    assert machine.files() == {}
    assert machine.ran[-1] == "systemctl daemon-reload"
    if step == "systemctl restart":
        assert machine.ran[-3:-1] == ["systemctl stop tunproxy.service", "systemctl disable tunproxy.service"]


def test_install_over_an_older_one_that_fails_brings_that_back(machine: Machine) -> None:
    list(machine.service.install(PROGRAM))
    before = machine.files()
    machine.failing["systemctl enable"] = "no reason"
    with pytest.raises(SystemChangeError):
        list(machine.service.install(["/opt/bin/tunproxy"]))
    assert machine.files() == before


def test_install_leaves_somebody_elses_unit_alone(machine: Machine) -> None:
    machine.service.unit.parent.mkdir(parents=True)
    machine.service.unit.write_text("[Service]\n")
    with pytest.raises(SystemChangeError, match="is somebody else's"):
        list(machine.service.install(PROGRAM))
    assert machine.files() == {"etc/systemd/system/tunproxy.service": "[Service]\n"}
    assert machine.ran == []


def test_install_of_the_package_only_enables_its_unit(machine: Machine) -> None:
    unit = machine.add_package()
    said = list(machine.service.install(["/usr/bin/tunproxy"]))
    assert machine.files() == {"usr/lib/systemd/system/tunproxy.service": packaged(UNIT)}
    assert machine.ran == ["systemctl enable tunproxy.service"]
    assert said[0] == f"the unit is the package's: {unit}"


def test_install_of_the_package_with_options_writes_a_unit_that_comes_first(machine: Machine) -> None:
    machine.add_package()
    list(machine.service.install(["/usr/bin/tunproxy"], ["--mtu", "1400"]))
    assert "ExecStart=/usr/bin/tunproxy up --mtu 1400\n" in machine.service.unit.read_text()


@pytest.mark.parametrize("place", ["/tmp", "/var/tmp"])
def test_install_of_a_program_that_services_cannot_see_is_refused(machine: Machine, place: str) -> None:
    with pytest.raises(SystemChangeError, match=f"services cannot see {place}/venv/bin/tunproxy"):
        list(machine.service.install([f"{place}/venv/bin/tunproxy"]))
    assert (machine.files(), machine.ran) == ({}, [])


@pytest.mark.parametrize("what", ["install", "uninstall", "status"])
def test_without_systemd_it_says_so(machine: Machine, what: str) -> None:
    (machine.root / "run/systemd/system").rmdir()
    with pytest.raises(SystemChangeError, match="systemd does not run here"):
        list(machine.service.install(PROGRAM) if what == "install" else getattr(machine.service, what)())
    assert (machine.files(), machine.ran) == ({}, [])


@pytest.mark.parametrize("what", ["install", "uninstall"])
def test_without_root_it_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemChangeError, match=r"not permitted \(run as root: sudo\)"):
        list(machine.service.install(PROGRAM) if what == "install" else machine.service.uninstall())
    assert (machine.files(), machine.ran) == ({}, [])


def test_uninstall_undoes_install(machine: Machine) -> None:
    list(machine.service.install(PROGRAM))
    machine.ran.clear()
    said = list(machine.service.uninstall())
    assert machine.files() == {}
    assert not machine.service.accounts.parent.exists()
    assert machine.ran == [
        "systemctl stop tunproxy.service",
        "systemctl disable tunproxy.service",
        "systemctl clean --what=state --what=runtime tunproxy.service",
        "systemctl daemon-reload",
        "systemctl reset-failed tunproxy.service",
        "userdel tunproxy",
        "groupdel tunproxy-control",
    ]
    assert said[-2:] == ["removed the user tunproxy", "removed the group tunproxy-control"]


def test_uninstall_where_the_service_does_not_stop_removes_nothing(machine: Machine) -> None:
    list(machine.service.install(PROGRAM))
    before = machine.files()
    machine.failing["systemctl stop"] = "Job failed"
    with pytest.raises(SystemChangeError, match="cannot stop the service: Job failed"):
        list(machine.service.uninstall())
    assert machine.files() == before


def test_uninstall_says_which_account_stays(machine: Machine) -> None:
    list(machine.service.install(PROGRAM))
    machine.failing["userdel"] = "userdel: user tunproxy is currently used by process 7"
    said = list(machine.service.uninstall())
    assert "the user tunproxy stays: userdel: user tunproxy is currently used by process 7" in said


def test_uninstall_of_nothing_says_so(machine: Machine) -> None:
    assert list(machine.service.uninstall()) == ["the service is not installed"]
    assert machine.ran == []


def test_uninstall_beside_a_package_leaves_what_is_the_packages(machine: Machine) -> None:
    unit = machine.add_package()
    list(machine.service.install(PROGRAM))
    machine.ran.clear()
    said = list(machine.service.uninstall())
    assert machine.files() == {"usr/lib/systemd/system/tunproxy.service": packaged(UNIT)}
    assert not any(line.startswith(("userdel", "groupdel")) for line in machine.ran)
    assert said[-1] == f"{unit} is the package's (remove it with: apt-get remove tunproxy)"


def test_status_is_what_systemd_says(machine: Machine) -> None:
    machine.out = "LoadState=loaded\nStatusText=a=b, c\nElse=1\nMainPID=7\n"
    assert machine.service.status() == {"LoadState": "loaded", "StatusText": "a=b, c", "MainPID": "7"}
    assert machine.ran[0].startswith("systemctl show tunproxy.service --property=LoadState,ActiveState,")


def test_tool_that_is_missing_or_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemChangeError, match=r"cannot run .*: no such file or directory"):
        run_tool([str(tmp_path / "none")])
    done = run_tool(["/bin/sh", "-c", "echo out; echo one >&2; echo two >&2; exit 7"])
    assert done == Done(7, "out\n", "one two")


def test_program_is_the_script_that_was_called_or_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "tunproxy"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert program_words([str(script)], "/usr/bin/python3") == [str(script)]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program_words(["tunproxy"], "/usr/bin/python3") == [str(script)]
    module = ["/usr/bin/python3", "-P", "-m", "tunproxy"]
    assert program_words(["/x/tunproxy/__main__.py"], "/usr/bin/python3") == module
    with pytest.raises(ConfigError, match="cannot be told which Python"):
        program_words(["/x/tunproxy/__main__.py"], "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs files of root")
def test_what_others_than_root_may_change_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    program = folder / "tunproxy"
    program.write_text("")
    before = set(who_else_may_write(program))
    os.chown(folder, 1000, 1000)
    assert set(who_else_may_write(program)) - before == {folder}
    os.chown(folder, 0, 0)
    program.chmod(0o666)
    assert set(who_else_may_write(program)) - before == {program}
    link = tmp_path / "link"
    link.symlink_to(program)
    assert set(who_else_may_write(link)) - before == {program}
    assert who_else_may_write(Path("/usr/bin/env")) == []
