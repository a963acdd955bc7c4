"""What Prometheus reads."""

import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tunproxy.relay.metrics import ACCEPTED, OPEN, Board, Tally
from tunproxy.relay.scrape import BoardCollector


def test_board_reads_as_prometheus_wants_it() -> None:
    board = Board(2, ["joe", 'ja"ne'])
    for number in range(2):
        tally = Tally(board, number)
        tally.add(ACCEPTED, 5)
        tally.add(OPEN, 2)
        tally.on_outcome("opened")
        tally.on_begin(1)
        tally.on_up(1, 100)
        tally.on_down(1, 7)
    registry = CollectorRegistry()
    registry.register(BoardCollector(board))
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    assert found["tunproxy_relay_connections_total", ()] == 10
    assert found["tunproxy_relay_connections_open", ()] == 4
    assert found["tunproxy_relay_outcomes_total", (("outcome", "opened"),)] == 2
    assert found["tunproxy_relay_octets_total", (("direction", "up"), ("user", 'ja"ne'))] == 200
    assert found["tunproxy_relay_octets_total", (("direction", "down"), ("user", 'ja"ne'))] == 14
    assert found["tunproxy_relay_flows_open", (("user", "joe"),)] == 0
    assert found["tunproxy_relay_worker_starts_total", ()] == 2
    assert found["tunproxy_relay_worker_memory_bytes", (("worker", "1"),)] > 1 << 20
    assert found["tunproxy_relay_worker_cpu_seconds_total", (("worker", "0"),)] > 0


def test_worker_that_has_not_begun_uses_nothing() -> None:
    registry = CollectorRegistry()
    registry.register(BoardCollector(Board(2, [])))
    assert "worker=" not in generate_latest(registry).decode()


def test_names_and_units_are_as_prometheus_has_them() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    registry = CollectorRegistry()
    registry.register(BoardCollector(Board(1, ["joe"])))
    page = generate_latest(registry)
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
