"""The document in Prometheus's words, read back by its own parser."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.control.measured import MEASURES
from tunproxy.control.metrics import exposition
from tunproxy.control.status import Instance, StatusReport

ROOT = Path(__file__).resolve().parents[3]


class Worker:
    """Answers as a worker does."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    async def ask(self, what: str) -> dict[str, Any]:
        return self._answer


def told(scale: int) -> dict[str, Any]:
    return {
        "flows": {
            "tcp": 5 * scale, "tcp_embryos": 2, "tcp_time_wait": 1, "udp": 3, "icmp_echo": 0,
            "memory_bytes": 9,
        },
        "traffic": {"frames_in": 1, "bytes_in": 1000 * scale, "frames_out": 2, "bytes_out": 2000},
        "counters": {"flows_opened": 7},
        "drops": {"land": 3},
        "opener": {"pending": 1, "opened": 2, "failed": 3},
        "upstream_faults": {'fa"r': 4},
        "plugin_faults": {"odd": 5},
        "policy": {"generation": 6, "rules": 8, "error": "line 3: no"},
        "observed": [{"rule": "DOMAIN,x,work", "place": "home.rules:3", "flows": 2, "octets": 70}],
        "worker": {
            "uptime_seconds": 1.5, "memory_bytes": 100, "descriptors": 10, "descriptor_limit": 20,
            "cpu_seconds": 0.25,
        },
    }  # fmt: skip


class Guards:
    """A part of the supervisor's that counts."""

    def document(self) -> dict[str, object]:
        return {
            "kill_switch": {"is_on": True, "refused": 12},
            "dns_leaks": {"packets": 4},
            "network": {"changes": 2, "put_back": 1},
        }

    def problems(self) -> list[str]:
        return ["look here"]


def page() -> str:
    workers: Any = [Worker(told(1)), Worker(told(10))]
    report = StatusReport(Instance("up", "tun7", "tun7"), workers, parts=[Guards()])
    return exposition(asyncio.run(report.document()), MEASURES).decode()


def samples() -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name.removeprefix("tunproxy_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("flows_open", ("tcp",), 55),
        ("flows_open", ("icmp_echo",), 0),
        ("tcp_flows", ("embryo",), 4),
        ("bytes_total", ("in",), 11_000),
        ("frames_total", ("out",), 4),
        ("events_total", ("flows_opened",), 14),
        ("drops_total", ("land",), 6),
        ("drops_total", ("truncated",), 0),
        ("opening", (), 2),
        ("openings_total", ("failed",), 6),
        ("upstream_faults_total", ('fa"r',), 8),
        ("plugin_faults_total", ("odd",), 10),
        ("policy_generation", (), 6),
        ("policy_is_old", (), 1),
        ("worker_descriptors", ("1",), 10),
        ("worker_uptime_seconds", ("0",), 1.5),
        ("worker_restarts_total", ("1",), 0),
        ("worker_cpu_seconds_total", ("1",), 0.25),
        ("plugins_suspended", (), 0),
        ("observed_rule_flows_total", ("home.rules:3", "DOMAIN,x,work"), 4),
        ("observed_rule_bytes_total", ("home.rules:3", "DOMAIN,x,work"), 140),
        ("kill_switch_packets_total", (), 12),
        ("dns_leaked_packets_total", (), 4),
        ("network_changes_total", (), 2),
        ("network_repairs_total", (), 1),
        ("loop_flows_cut_total", (), 0),
        ("verdicts_total", ("work",), 9),
        ("upstream_up", ("work",), 0),
    ],
)
def test_number_has_its_name(name: str, labels: tuple[str, ...], value: float) -> None:
    assert samples()[name, labels] == value


def test_page_names_every_metric() -> None:
    text = (ROOT / "docs" / "operations.md").read_text().partition("## Metrics for Prometheus\n")[2]
    page = text.partition("\n## ")[0].partition("|---|---|")[2]
    named = set(re.findall(r"`([a-z_]+)(?:\{[a-z,]+\})?`", page))
    names = {name for name, _ in samples()}
    assert names <= named
    assert {name for name in named if name.endswith(("_total", "_seconds", "_bytes"))} <= names


def test_nobody_answers() -> None:
    document = asyncio.run(StatusReport(Instance("exec", "exec-1", "tun0"), []).document())
    assert b'tunproxy_flows_open{network="tcp"} 0.0' in exposition(document)


def test_supervisor_tells_of_itself() -> None:
    found = samples()
    assert found["supervisor_memory_bytes", ()] > 1 << 20
    assert found["supervisor_cpu_seconds_total", ()] > 0


def test_names_and_units_are_as_prometheus_has_them() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    done = subprocess.run([promtool, "check", "metrics"], input=page(), capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
