"""``tunproxy relay`` in the lab's world: its configuration, its process, and what it tells Prometheus."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.interop.proxies import TARGET, TARGET6, ProxyLab
from tests.system.hostlab import ORDINARY_UID, TUNPROXY, WORLD_IPV4, eventually

RELAY, SHADOW, METRICS = 2100, 2101, 2102
USER, PASSWORD = "joe", "sw:rd/f%sh"
LOGIN = "joe:sw%3Ard%2Ff%25sh"
SHADOW_METHOD, SHADOW_PASSWORD = "2022-blake3-aes-128-gcm", "AAECAwQFBgcICQoLDA0ODw=="
DENIED = 7003  # a port of the target that the relay does not allow

CONFIG = """
listen = ["{address}:{port}"]
workers = {workers}
drain = 20
log-flows = true

[tls]
certificate = "certificate.pem"
key = "relay-key.pem"

[users.joe]
password = {{ env = "RELAY_PASSWORD" }}

[users.jane]
password-hash = "{hash}"
connections = 3

[targets]
allow = ["{target}", "{target6}"]
deny = ["{target}:{denied}", "denied.test"]

[shadowsocks]
listen = ["{address}:{shadow}"]
method = "{method}"
password = "{password}"

[metrics]
listen = "{address}:{metrics}"
"""
OPEN_CONFIG = """
listen = ["{address}:{port}"]
workers = 1
anonymous = true

[targets]
allow = ["{target}", "{target6}"]

[limits]
handshake = {handshake}
"""


class Relay:
    """A running relay, as a user without rights."""

    def __init__(self, lab: ProxyLab, name: str, config: str, port: int) -> None:
        self.port = port
        path = lab.settings(f"{name}.toml", config)
        self._lab = lab
        argv = (*TUNPROXY, "relay", "--config", path)
        user = ("setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups", "--")
        env = {**os.environ, "RELAY_PASSWORD": PASSWORD, "HOME": "/"}
        self._program = lab.world.spawn(*user, *argv, log=lab.scratch / f"{name}.log", env=env)

    def await_ready(self) -> None:
        """Wait until clients may come."""
        if not eventually(lambda: "listening at" in self.output() or not self.is_alive(), 30):
            self.stop()
        assert self.is_alive(), self.output()

    def is_alive(self) -> bool:
        return self._program.process.poll() is None

    def output(self) -> str:
        return self._program.log.read_text(errors="replace")

    def says(self, words: str) -> bool:
        """Tell whether it comes to say so."""
        return eventually(lambda: words in self.output(), 30)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._program.process.pid, number)

    def ended(self, within: float) -> int:
        """Return the exit code that it comes to end with."""
        return self._program.process.wait(within)

    def children(self) -> list[int]:
        """Return its processes but the first."""
        pid = self._program.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self) -> None:
        """End all of it as a power cut would."""
        for pid in (self._program.process.pid, *self.children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._program.process.wait(10)

    def stop(self) -> None:
        """End it at once."""
        for _ in range(2):
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._program.process.wait(0.3)
        self._program.stop()

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Return what Prometheus would read: values by name and labels."""
        url = f"http://{WORLD_IPV4}:{METRICS}/metrics"
        done = self._lab.world.run("curl", "-sS", "-f", "--max-time", "10", url, timeout=20)
        assert done.returncode == 0, done.stderr
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(done.stdout)
            for sample in family.samples
        }


def start_relay(lab: ProxyLab, hashed: str, workers: int = 2) -> Relay:
    """Start the relay that most tests use: with users, TLS, Shadowsocks and metrics."""
    assert lab.certificate
    key = lab.scratch / "relay-key.pem"
    shutil.copy(lab.scratch / "key.pem", key)
    key.chmod(0o644)
    text = CONFIG.format(
        address=WORLD_IPV4, port=RELAY, workers=workers, hash=hashed, target=TARGET, target6=TARGET6,
        denied=DENIED, shadow=SHADOW, method=SHADOW_METHOD, password=SHADOW_PASSWORD, metrics=METRICS,
    )  # fmt: skip
    return Relay(lab, "relay", text, RELAY)


def start_open_relay(lab: ProxyLab, port: int, *, handshake: float = 30) -> Relay:
    """Start a relay that serves everybody, as one of several behind something else."""
    text = OPEN_CONFIG.format(
        address=WORLD_IPV4, port=port, target=TARGET, target6=TARGET6, handshake=handshake
    )
    return Relay(lab, f"relay-{port}", text, port)
