"""The processes of ``exec``, with a packet path that is played; more in ``tests/system/test_exec.py``."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.control.execute import execute
from tunproxy.control.settings import ExecSettings
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.errors import ConfigError, TunproxyError, UpstreamError
from tunproxy.logs import setup

pytestmark = needs_namespaces

Serve = Callable[..., None]


@pytest.fixture(autouse=True)
def nobody_after_us() -> Iterator[None]:
    yield
    setup.take_down()


RESOLVERS = [("10.231.77.2", 53), ("fd7a:7475:6e70::2", 53)]


def run(*command: str, serve: Serve, **settings: object) -> int:
    """Return the exit code of a command."""
    return os.waitstatus_to_exitcode(execute(ExecSettings(command=command, **settings), serve))  # type: ignore[arg-type]


def serve_until_stopped(
    settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]
) -> None:
    on_ready("ready")
    time.sleep(30)  # SIGTERM ends it


def test_settings_and_device_reach_the_packet_path(capfd: pytest.CaptureFixture[str]) -> None:
    def serve(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        assert os.readlink(f"/proc/self/fd/{settings.device.fd}") == "/dev/net/tun"
        plain = (
            settings.mtu,
            settings.mark,
            settings.udp_timeout,
            settings.memory,
            settings.bind_interface,
            settings.device.name,
        )
        maps = {
            (entry.address, entry.port): (entry.to_address, entry.to_port) for entry in settings.address_maps
        }
        assert plain == (1400, 9, 7.0, 20 << 20, "lo", "tun5")
        assert maps.pop(("192.0.2.9", 0)) == ("127.0.0.1", 0)
        assert maps.pop(("fd00::9", 0)) == ("::1", 0)
        assert set(maps) <= set(RESOLVERS)
        assert maps
        serve_until_stopped(settings, on_ready=on_ready)

    def check() -> None:
        code = run(
            "sh", "-c", "exit 4", serve=serve, tun="tun5", mtu=1400, mark=9, udp_timeout=7.0, memory=20 << 20,
            bind_interface="lo", host_addresses=("192.0.2.9", "fd00::9"),
        )  # fmt: skip
        assert code == 4

    isolated(check)
    assert capfd.readouterr().err == ""


def test_command_waits_until_the_packet_path_serves(tmp_path: Path) -> None:
    def serve(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        time.sleep(0.3)
        assert not (tmp_path / "ran").exists(), "the command ran too early"
        serve_until_stopped(settings, on_ready=on_ready)

    isolated(lambda: run("touch", str(tmp_path / "ran"), serve=serve))
    assert (tmp_path / "ran").exists()


def test_packet_path_that_does_not_start_is_an_error_and_the_command_never_runs(tmp_path: Path) -> None:
    def serve(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        raise UpstreamError("no way out")

    def check() -> None:
        with pytest.raises(TunproxyError, match=r"^no way out$"):
            run("touch", str(tmp_path / "ran"), serve=serve)
        with pytest.raises(ChildProcessError):  # nobody is left
            os.waitpid(-1, os.WNOHANG)

    isolated(check)
    assert not (tmp_path / "ran").exists()


UNTIL_IT_IS_TOLD = """
for _ in $(seq 1000); do
    grep -q "goes on without" /proc/self/fd/2 && exit 6
    sleep 0.02
done
"""


@pytest.mark.parametrize(
    ("end", "how"), [(lambda: os._exit(3), "exit code 3"), (os.abort, "killed by signal 6")]
)
def test_packet_path_that_dies_later_leaves_the_command_to_its_end(
    end: Callable[[], None], how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def serve(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        on_ready("ready")
        end()

    def check() -> None:
        assert run("sh", "-c", UNTIL_IT_IS_TOLD, serve=serve) == 6

    isolated(check)
    assert capfd.readouterr().err == f"tunproxy: the worker died ({how}): sh goes on without a network\n"


def test_bad_settings_are_refused_before_anything_happens() -> None:
    with pytest.raises(ConfigError):
        run("true", serve=serve_until_stopped, mtu=1)
