"""``tunproxy status``: what running ones tell, who may ask, and what is left of a control socket.

The picture of the namespaces is in ``hostlab``. Other tunproxy may run on this machine: devices have names
that nobody else uses, and ordinary users a directory of their own.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.hostlab import (
    ORDINARY_UID,
    TUNPROXY,
    WORLD_IPV4,
    HostLab,
    eventually,
    hello_from,
    host_for_tests,
    read_line,
)
from tunproxy.control.endpoint import ALIVE, claim, look_at

pytestmark = pytest.mark.timeout(60)

TUN = "status0"
SOCKET = Path(f"/run/tunproxy/{TUN}.sock")
GRE = 47
USER: dict[str, object] = {"uid": ORDINARY_UID}


module_lab = pytest.fixture(scope="module", name="module_lab")(host_for_tests)


@pytest.fixture
def lab(module_lab: HostLab) -> Iterator[HostLab]:
    """A host on which nothing of ours is left from the test before."""
    yield module_lab
    module_lab.stop_all()
    SOCKET.unlink(missing_ok=True)  # who was killed leaves it, and the next test must not take it for its own
    for family in ("-4", "-6"):
        for priority in re.findall(r"(?m)^(77\d\d):", module_lab.host.ip(family, "rule")):
            module_lab.host.run("ip", family, "rule", "del", "pref", priority)


@pytest.fixture
def runtime(tmp_path: Path) -> dict[str, str]:
    """The environment of an ordinary user who has a directory for sockets."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o111)
    made = tmp_path / "runtime"
    made.mkdir(mode=0o700)
    os.chown(made, ORDINARY_UID, ORDINARY_UID)
    return {"XDG_RUNTIME_DIR": str(made)}


def status(lab: HostLab, *options: str, **how: Any) -> "subprocess.CompletedProcess[str]":
    return lab.run(*TUNPROXY, "status", *options, **how)


def document(lab: HostLab, *options: str, **how: Any) -> dict[str, Any]:
    done = status(lab, "--json", *options, **how)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def is_served() -> bool:
    """Tell whether somebody listens; the file is there a moment before."""
    return look_at(SOCKET).state == ALIVE


def start_served(lab: HostLab, *options: str) -> "subprocess.Popen[str]":
    """Start ``tunproxy up`` and return once it can be asked, which is a moment after its start-up line."""
    process = lab.start_up("--tun", TUN, *options)
    assert eventually(is_served, 20)
    return process


def worker_of(supervisor: "subprocess.Popen[str]") -> int:
    return int(Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text())


def test_up_status_tells_flows_traffic_and_drops(lab: HostLab) -> None:
    process = start_served(lab, "--workers", "1")
    with lab.greeter(lab.world, WORLD_IPV4) as (port, _), lab.host.connect(WORLD_IPV4, port) as client:
        assert client.recv(100) == b"hello\n"
        with lab.host.entered():
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, GRE)
        with raw:
            for _ in range(3):
                raw.sendto(b"nobody carries this", (WORLD_IPV4, 0))
        assert eventually(lambda: document(lab, "--tun", TUN)["drops"].get("unknown-protocol") == 3, 20)
        told = document(lab, "--tun", TUN)
        shown = status(lab, "--tun", TUN).stdout
    assert (told["mode"], told["name"], told["tun"], told["pid"]) == ("up", TUN, TUN, process.pid)
    assert told["flows"]["tcp"] == 1
    assert told["counters"]["flows_opened"] == 1
    assert told["traffic"]["bytes_out"] > told["traffic"]["frames_out"] * 40
    assert [worker["pid"] for worker in told["workers"]] == [worker_of(process)]
    assert 0 < told["workers"][0]["descriptors"] < told["workers"][0]["descriptor_limit"]
    assert told["problems"] == []
    assert f"offload {told['offload']}, routes" in process.start_line  # type: ignore[attr-defined]
    assert f"{TUN}    up for " in shown
    assert "3  unknown-protocol: of a protocol that is not carried\n" in shown


def test_up_status_is_for_its_user_only(lab: HostLab) -> None:
    start_served(lab)
    document(lab, "--tun", TUN)
    for options in (("--tun", TUN), ("--socket", str(SOCKET))):
        done = status(lab, *options, machine=USER)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"tunproxy: cannot ask {SOCKET}: permission denied (try as root: sudo)\n"


@pytest.mark.parametrize("is_asked", [False, True], ids=["never asked", "asked"])
def test_up_told_to_stop_leaves_no_socket(lab: HostLab, is_asked: bool) -> None:
    before = lab.configuration()
    process = start_served(lab)
    if is_asked:
        document(lab, "--tun", TUN)
    process.terminate()
    assert process.wait(20) == 0
    assert not SOCKET.exists()
    assert lab.configuration() == before
    done = status(lab, "--tun", TUN)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"tunproxy: no tunproxy called '{TUN}' is running (start one with ")


def test_up_killed_leaves_a_socket_that_disturbs_nobody(lab: HostLab) -> None:
    process = start_served(lab)
    process.kill()
    process.wait(20)
    assert SOCKET.exists()
    assert status(lab, "--tun", TUN).returncode == 3
    assert eventually(lambda: not lab.has_link(TUN), 20)
    again = start_served(lab)
    assert document(lab, "--tun", TUN)["pid"] == again.pid


def test_up_name_of_somebody_who_lives_is_respected(lab: HostLab) -> None:
    holder = claim(TUN)
    try:
        process = lab.start_up("--tun", TUN)
        line = read_line(process.stderr)  # type: ignore[arg-type]
        why = f"process {os.getpid()} does (choose another name with --tun)"
        assert line == f"tunproxy: cannot listen at {SOCKET}: {why}\n"
        with lab.greeter(lab.world, WORLD_IPV4) as (port, _):
            assert lab.hear(WORLD_IPV4, port) == "hello\n"
        process.terminate()
        assert process.wait(20) == 0
        assert SOCKET.exists()
    finally:
        holder.close()


def test_up_worker_that_hangs_is_told(lab: HostLab) -> None:
    process = start_served(lab, "--workers", "1")
    os.kill(worker_of(process), signal.SIGSTOP)
    told = document(lab, "--tun", TUN)
    assert told["problems"] == ["the worker does not answer within 2 s"]
    os.kill(worker_of(process), signal.SIGCONT)
    assert eventually(lambda: document(lab, "--tun", TUN)["problems"] == [], 20)


def test_up_client_that_says_nothing_delays_no_stop(lab: HostLab) -> None:
    before = lab.configuration()
    process = start_served(lab)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.connect(str(SOCKET))
        document(lab, "--tun", TUN)
        began = time.monotonic()
        process.terminate()
        assert process.wait(20) == 0
    assert time.monotonic() - began < 10  # it is asked to stop, and does not wait to be killed
    assert lab.configuration() == before


def test_up_worker_killed_after_somebody_asked_is_replaced_and_told(lab: HostLab) -> None:
    process = start_served(lab)
    first = document(lab, "--tun", TUN)["workers"][0]["pid"]
    os.kill(first, signal.SIGKILL)
    assert "died (killed by signal 9)" in read_line(process.stderr)  # type: ignore[arg-type]
    assert eventually(lambda: document(lab, "--tun", TUN)["workers"][0].get("pid", first) != first, 20)
    told = document(lab, "--tun", TUN)
    assert told["workers"][0]["restarts"] == 1
    assert "killed by signal 9" in str(told["problems"])
    process.terminate()
    assert process.wait(20) == 0
    assert not SOCKET.exists()


def test_exec_several_at_once_are_told_apart(lab: HostLab, runtime: dict[str, str]) -> None:
    directory = Path(runtime["XDG_RUNTIME_DIR"], "tunproxy")
    environment = [f"{name}={value}" for name, value in runtime.items()]
    started = [
        lab.start("env", *environment, *TUNPROXY, "exec", "--", "sleep", "90", machine=USER) for _ in range(2)
    ]
    assert eventually(lambda: [look_at(path).state for path in directory.glob("*")] == [ALIVE] * 2, 30)
    done = status(lab, machine=USER, env=runtime)
    assert done.returncode == 2
    assert done.stderr.startswith("tunproxy: several tunproxy are running: exec-")
    assert done.stderr.count("\n") == 1
    for path in directory.iterdir():
        told = document(lab, "--tun", path.name.removesuffix(".sock"), machine=USER, env=runtime)
        assert (told["mode"], told["command"]) == ("exec", "sleep")
    started[0].kill()
    assert eventually(lambda: status(lab, machine=USER, env=runtime).returncode == 0, 30)
    shown = status(lab, machine=USER, env=runtime).stdout
    assert "running 'sleep' on tunproxy0 for " in shown
    assert "dropped" in shown


def test_exec_is_found_by_its_own_command_and_leaves_nothing(lab: HostLab, runtime: dict[str, str]) -> None:
    with lab.greeter(lab.world, WORLD_IPV4) as (port, _):
        say, ask = shlex.join(hello_from(WORLD_IPV4, port)), shlex.join(TUNPROXY)
        done = lab.run(
            *TUNPROXY,
            "exec",
            "--",
            "sh",
            "-c",
            f"{say}; {ask} status --json; exit 7",
            machine=USER,
            env=runtime,
        )
    hello, _, told = done.stdout.partition("\n")
    assert (done.returncode, done.stderr, hello) == (7, "", "hello")
    assert json.loads(told)["counters"]["flows_opened"] == 1
    assert not Path(runtime["XDG_RUNTIME_DIR"], "tunproxy").exists()


def test_exec_with_the_environment_of_another_user_runs_and_is_silent(lab: HostLab) -> None:
    """That is what ``su`` leaves behind."""
    done = lab.run(*TUNPROXY, "exec", "--", "echo", "done", machine=USER, env={"XDG_RUNTIME_DIR": "/run"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
