"""What /proc tells of processes: of real ones, and of those that a folder pretends to be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.waiting import eventually
from tunproxy.errors import SystemChangeError
from tunproxy.host.process import Group, describe_process, find_by_command, pids, read_group

ID = "0123456789abcdef" * 4


def pretend(
    proc: Path, pid: int, comm: str, *, exe: str = "", cmdline: bytes = b"", cgroup: str = "0::/\n"
) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "comm").write_text(comm + "\n")
    (folder / "cmdline").write_bytes(cmdline)
    (folder / "cgroup").write_text(cgroup)
    if exe:
        (folder / "exe").symlink_to(exe)


def test_real_process(tmp_path: Path) -> None:
    program = tmp_path / f"my-very-long-program-name-{os.getpid()}"  # of which there is no other
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen(["called so", "60"], executable=program) as process:
        try:
            # execve has ended for its parent a moment before the kernel has the arguments (exec_mmap).
            assert eventually(Path(f"/proc/{process.pid}/cmdline").read_bytes)
            found = describe_process(process.pid, 1000)
            assert (found.pid, found.uid, found.name) == (process.pid, 1000, program.name)
            assert (found.path, found.argv0, found.why) == (str(program), "called so", "")
            assert found.cgroup is not None
            assert found.cgroup.startswith("/")
            assert find_by_command(program.name) == process.pid
            assert find_by_command(str(program)) == process.pid
            assert find_by_command(str(process.pid)) == process.pid
            program.unlink()
            assert describe_process(process.pid, 1000).path == str(program)
        finally:
            process.kill()
    assert describe_process(process.pid, 1000).why == "the process has ended"


@needs_namespaces
def test_program_of_another_user_is_known_by_its_short_name() -> None:
    def check() -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            os.setresuid(61_000, 61_000, 61_000)
            found = describe_process(process.pid, 0)
            assert (found.path, found.name) == (None, Path(f"/proc/{process.pid}/comm").read_text().strip())
            assert "CAP_SYS_PTRACE" in found.why
            assert process.stdin is not None
            process.stdin.write(b"\n")

    isolated(check)


def test_thread_of_the_kernel_has_no_program(tmp_path: Path) -> None:
    pretend(tmp_path, 2, "kthreadd")
    found = describe_process(2, 0, tmp_path)
    assert (found.name, found.path, found.argv0) == ("kthreadd", None, None)
    assert found.why == "it is a thread of the kernel, or has ended"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/system.slice/cron.service\n", "/system.slice/cron.service"),
        ("3:cpu:/x\n1:name=systemd:/user.slice/a.scope\n0::/\n", "/user.slice/a.scope"),
        ("3:cpu:/x\n1:name=systemd:/user.slice/a.scope\n", "/user.slice/a.scope"),
        ("3:cpu:/x\n", None),
        ("0::/a:b\n", "/a:b"),
    ],
)
def test_control_group_of_each_kind_of_hierarchy(tmp_path: Path, text: str, path: str | None) -> None:
    pretend(tmp_path, 7, "x", exe="/bin/x", cgroup=text)
    assert describe_process(7, 0, tmp_path).cgroup == path


USER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/", Group()),
        ("/system.slice/cron.service", Group("cron.service", "system.slice")),
        ("/system.slice/ssh.socket/x", Group("ssh.socket", "system.slice")),
        (f"{USER}/app.slice/app-vim-12.scope", Group("app-vim-12.scope", "app.slice")),
        (
            f"{USER}/app.slice/app-flatpak-org.mozilla.firefox-4711.scope",
            Group("app-flatpak-org.mozilla.firefox-4711.scope", "app.slice", "org.mozilla.firefox"),
        ),
        (
            f"/system.slice/docker-{ID}.scope",
            Group(f"docker-{ID}.scope", "system.slice", container=ID),
        ),
        (f"/docker/{ID}", Group(container=ID)),
        (
            f"/kubepods.slice/x.slice/cri-containerd-{ID}.scope",
            Group(f"cri-containerd-{ID}.scope", "x.slice", None, ID),
        ),
        ("/lxc.payload.web/init.scope", Group("init.scope", container="web")),
        (
            "/machine.slice/systemd-nspawn@web.service/payload/init.scope",
            Group("init.scope", "machine.slice", container="web"),
        ),
        (
            f"/user.slice/libpod-conmon-{ID}.scope",
            Group(f"libpod-conmon-{ID}.scope", "user.slice"),
        ),
        (
            "/machine.slice/machine-deb.scope/payload",
            Group("machine-deb.scope", "machine.slice", container="deb"),
        ),
    ],
)
def test_path_of_a_control_group_says(path: str, group: Group) -> None:
    assert read_group(path) == group


def test_youngest_process_of_a_name_is_found(tmp_path: Path) -> None:
    pretend(tmp_path, 5, "curl", exe="/usr/bin/curl")
    pretend(tmp_path, 50, "curl", exe="/opt/curl")
    pretend(tmp_path, 600, "other")
    assert find_by_command("curl", tmp_path) == 50
    assert find_by_command("/usr/bin/curl", tmp_path) == 5
    assert find_by_command("other", tmp_path) == 600
    assert find_by_command("nobody", tmp_path) is None
    assert pids(tmp_path) == [600, 50, 5]


def test_without_proc_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemChangeError, match="cannot read"):
        pids(tmp_path / "none")
