"""What tells of containers and sandboxed apps: paths, engines' files, and real processes in both."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.waiting import eventually
from tunproxy.host import libc
from tunproxy.host.cgroups import hierarchy
from tunproxy.host.containers import app_of, app_of_process, container_name, container_of
from tunproxy.host.process import describe_process

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


@pytest.mark.parametrize(
    ("unit", "app"),
    [
        ("app-flatpak-com.example.My\\x2dApp-12.scope", "com.example.My-App"),
        ("snap.firefox.firefox-0b4cf9e5-52c4-4a02-9a5a-d5d1fe3a8a4b.scope", "firefox"),
        ("snap.lxd.daemon.service", "lxd.daemon"),
        ("snap.my-tool.my-tool.0b4cf9e5-52c4-4a02-9a5a-d5d1fe3a8a4b.scope", "my-tool"),
        ("snapd.service", None),
        ("app-gnome-firefox-12.scope", None),
    ],
)
def test_app_that_a_unit_is_of(unit: str, app: str | None) -> None:
    assert app_of(unit) == app


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        ("/", None),
        ("/system.slice/cron.service", None),
        (f"/system.slice/docker-{ID}.scope", ID),
        (f"/docker/{ID}/nested", ID),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container", ID),
        (f"/user.slice/libpod-conmon-{ID}.scope", None),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", ID),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", ID),
        ("/lxc.payload.web/system.slice", "web"),
        ("/lxc/web", "web"),
        ("/machine.slice/systemd-nspawn@web.service/payload", "web"),
        ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator", "qemu-1-vm"),
    ],
)
def test_container_that_a_control_group_is_of(cgroup: str, container: str | None) -> None:
    assert container_of(cgroup) == container


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_name_of_a_container_is_in_its_engines_files(tmp_path: Path) -> None:
    assert container_name("web", tmp_path) == "web"
    assert container_name(ID, tmp_path) is None
    put(tmp_path / f"var/lib/docker/containers/{ID}/config.v2.json", {"Name": "/shop", "ID": ID})
    assert container_name(ID, tmp_path) == "shop"
    listed = tmp_path / "home/alice/.local/share/containers/storage/overlay-containers/containers.json"
    put(listed, [{"id": ID, "names": ["not-this"]}, {"id": OTHER, "names": ["mail", "old"]}, 7, {"id": "x"}])
    assert container_name(OTHER, tmp_path) == "mail"
    put(listed, [{"id": OTHER, "names": ["renamed"]}])
    assert container_name(OTHER, tmp_path) == "renamed"
    put(
        tmp_path / "var/lib/containers/storage/overlay-containers/containers.json",
        [{"id": OTHER, "names": ["r"]}],
    )
    assert container_name(OTHER, tmp_path) == "r"


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"Name": 7}', "[" * 100_000])
def test_odd_files_of_an_engine_name_nobody(tmp_path: Path, content: str) -> None:
    put(tmp_path / f"var/lib/docker/containers/{ID}/config.v2.json", content)
    put(tmp_path / "var/lib/containers/storage/overlay-containers/containers.json", content)
    assert container_name(ID, tmp_path) is None


def test_app_by_the_label_of_a_snap_and_by_the_root_of_a_flatpak(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    assert app_of_process(folder) is None
    put(folder / "attr/current", "unconfined\n")
    assert app_of_process(folder) is None
    put(folder / "attr/current", "snap.firefox.firefox (enforce)\n")
    assert app_of_process(folder) == "firefox"
    put(folder / "attr/current", "snap.lxd.daemon (complain)\n")
    assert app_of_process(folder) == "lxd.daemon"
    put(folder / "root/.flatpak-info", "[Instance]\nname=x\n[Application]\nname=org.example.App\n")
    assert app_of_process(folder) == "org.example.App"
    put(folder / "root/.flatpak-info", "x" * 100_000)
    assert app_of_process(folder) == "lxd.daemon"


@needs_namespaces
def test_real_process_in_a_root_of_flatpaks(tmp_path: Path) -> None:
    def check() -> None:
        root = tmp_path / "root"
        root.mkdir()
        libc.mount("tmpfs", str(root), "tmpfs", 0, "mode=0755")
        (root / ".flatpak-info").write_text("[Application]\nname=org.example.Browser\nruntime=x\n")
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            os.chroot(root)
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)
        try:
            until_it_is_there(pid, root)
            assert describe_process(pid, 0).app == "org.example.Browser"
        finally:
            os.close(writing)
            os.waitpid(pid, 0)

    isolated(check)


def until_it_is_there(pid: int, root: Path) -> None:
    while os.readlink(f"/proc/{pid}/root") != str(root):
        os.sched_yield()


@needs_namespaces
@pytest.mark.skipif(
    hierarchy() is None or not os.access(hierarchy() or "/", os.W_OK),
    reason="needs control groups of the second version",
)
def test_real_process_in_the_group_of_a_container() -> None:
    root = hierarchy()
    assert root is not None
    group = root / f"tunproxy-{os.getpid()}.slice"
    inner = group / f"docker-{ID}.scope"
    inner.mkdir(parents=True)
    try:
        with subprocess.Popen(["called so", "60"], executable="/bin/sleep") as process:
            (inner / "cgroup.procs").write_text(str(process.pid))
            try:
                # execve has ended for its parent a moment before the kernel has the arguments (exec_mmap).
                assert eventually(Path(f"/proc/{process.pid}/cmdline").read_bytes)
                found = describe_process(process.pid, 1000)
            finally:
                process.kill()
        assert found.cgroup == f"/{group.name}/{inner.name}"
        assert (found.container, found.unit, found.slice) == (ID, inner.name, group.name)
        assert (found.argv0, found.name, found.why) == ("called so", "sleep", "")
    finally:
        inner.rmdir()
        group.rmdir()
