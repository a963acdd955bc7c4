"""What Prometheus is told: the board's counts, summed over the workers."""

import os
import signal
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tunproxy.relay import metrics
from tunproxy.relay.addresses import Listen
from tunproxy.relay.metrics import OUTCOMES, PROTOCOLS, Board
from tunproxy.relay.usage import usage_of
from tunproxy.version import version

PREFIX: Final = "tunproxy_relay_"

_Kind = type[CounterMetricFamily] | type[GaugeMetricFamily]


class BoardCollector(Collector):
    """Reads a board each time that somebody asks."""

    def __init__(self, board: Board) -> None:
        self._board: Final = board

    def collect(self) -> Iterator[Metric]:
        board = self._board
        total = board.total
        yield _one(CounterMetricFamily, "connections", "Connections accepted", total(metrics.ACCEPTED))
        yield _one(GaugeMetricFamily, "connections_open", "Connections open now", total(metrics.OPEN))
        yield _one(
            CounterMetricFamily, "turned_away", "Connections beyond the limit", total(metrics.TURNED_AWAY)
        )
        yield _one(CounterMetricFamily, "worker_starts", "Workers started", total(metrics.STARTS))
        datagrams = CounterMetricFamily(f"{PREFIX}datagrams", "Datagrams", labels=["what"])
        datagrams.add_metric(["up"], total(metrics.DATAGRAMS_UP))
        datagrams.add_metric(["down"], total(metrics.DATAGRAMS_DOWN))
        datagrams.add_metric(["dropped"], total(metrics.DATAGRAMS_DROPPED))
        yield datagrams
        requests = CounterMetricFamily(f"{PREFIX}requests", "Requests understood", labels=["protocol"])
        for number, name in enumerate(PROTOCOLS):
            requests.add_metric([name], board.protocol(number))
        yield requests
        outcomes = CounterMetricFamily(
            f"{PREFIX}outcomes", "What became of connections' requests", labels=["outcome"]
        )
        for number, name in enumerate(OUTCOMES):
            outcomes.add_metric([name], board.outcome(number))
        yield outcomes
        yield from self._users()
        yield from self._workers()
        build = GaugeMetricFamily(f"{PREFIX}build_info", "Which relay this is", labels=["version"])
        build.add_metric([version()], 1)
        yield build

    def _users(self) -> Iterator[Metric]:
        board = self._board
        flows = CounterMetricFamily(f"{PREFIX}flows", "Flows begun", labels=["user"])
        is_open = GaugeMetricFamily(f"{PREFIX}flows_open", "Flows open now", labels=["user"])
        octets = CounterMetricFamily(
            f"{PREFIX}octets", "Octets carried, in the clear", labels=["user", "direction"]
        )
        for number, name in enumerate(board.users):
            flows.add_metric([name], board.of_user(number, metrics.FLOWS))
            is_open.add_metric([name], board.of_user(number, metrics.FLOWS_OPEN))
            octets.add_metric([name, "up"], board.of_user(number, metrics.UP))
            octets.add_metric([name, "down"], board.of_user(number, metrics.DOWN))
        yield from (flows, is_open, octets)

    def _workers(self) -> Iterator[Metric]:
        spent = CounterMetricFamily(
            f"{PREFIX}worker_cpu_seconds", "Processor time that a worker has used", labels=["worker"]
        )
        memory = GaugeMetricFamily(
            f"{PREFIX}worker_memory_bytes", "Octets of memory that only a worker holds", labels=["worker"]
        )
        for number, pid in enumerate(self._board.pids()):
            usage = usage_of(pid) if pid else None
            if usage is not None:
                spent.add_metric([str(number)], usage.cpu_seconds)
                memory.add_metric([str(number)], usage.memory)
        yield from (spent, memory)


def _one(kind: _Kind, name: str, words: str, value: int) -> Metric:
    return kind(PREFIX + name, words, value=value)


def serve(board: Board, listen: Listen, lifeline: int) -> None:
    """Answer Prometheus until SIGTERM, or until the pipe lifeline ends. Raises OSError."""
    registry = CollectorRegistry()
    registry.register(BoardCollector(board))
    start_http_server(listen.port, listen.host, registry)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.read(lifeline, 1)
