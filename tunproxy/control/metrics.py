"""What Prometheus is told: the document of ``status``, and what workers measure, in its words.

Names and labels are a promise, as the document's keys are.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final  # Any as the document's JSON has it

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tunproxy.control.measures_metrics import PREFIX, MeasuresCollector, counts, gauge
from tunproxy.control.snapshot import resident_memory

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_KINDS: Final = ("tcp", "udp", "icmp_echo")
_TCP_STATES: Final = {"tcp_embryos": "embryo", "tcp_time_wait": "time-wait"}
_OF_WORKERS: Final = (
    ("uptime_seconds", "Seconds since a worker began"),
    ("memory_bytes", "Octets of memory that only a worker holds"),
    ("descriptors", "Files that a worker has open"),
    ("descriptor_limit", "Files that a worker may have open"),
)

_GUARDED: Final = (
    ("loops", "cut", "loop_flows_cut", "Flows cut because those of a proxy came back to us"),
    ("dns_leaks", "packets", "dns_leaked_packets", "Questions for names that left past us"),
    ("kill_switch", "refused", "kill_switch_packets", "Packets that the kill switch has kept from leaving"),
    ("network", "changes", "network_changes", "How often the way out was another one"),
    ("network", "put_back", "network_repairs", "How often something of ours was put back"),
)


def exposition(document: Mapping[str, Any], measures: Mapping[str, Any] | None = None) -> bytes:
    """Return the document, and the measures if there are any, as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(_Collector(document))
    if measures:
        registry.register(MeasuresCollector(measures))
    return generate_latest(registry)


class _Collector(Collector):
    """Has one document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document: Final = document

    def collect(self) -> Iterator[Metric]:
        document = self._document
        labels = ["version", "mode", "tun"]
        info = GaugeMetricFamily(f"{PREFIX}info", "Which tunproxy this is", labels=labels)
        info.add_metric([str(document[label]) for label in labels], 1)
        yield info
        yield gauge("uptime_seconds", "Seconds since packets are carried", document["uptime_seconds"])
        yield gauge("problems", "What somebody should look at (tunproxy status)", len(document["problems"]))
        yield from _flows(document["flows"])
        yield from _traffic(document["traffic"])
        yield counts(
            "events", "What happened, by the counters of tunproxy status", "event", document["counters"]
        )
        yield counts("drops", "Packets dropped, by reason", "reason", document["drops"])
        opener = document["opener"]
        yield gauge("opening", "Flows that a plugin's coroutine opens now", opener.get("pending", 0))
        ended = {name: opener.get(name, 0) for name in ("opened", "failed")}
        yield counts("openings", "Flows that a plugin's coroutine has opened, or not", "outcome", ended)
        yield counts("upstream_faults", "Faults of upstreams", "upstream", document["upstream_faults"])
        yield counts("plugin_faults", "Faults of plugins", "plugin", document["plugin_faults"])
        yield gauge(
            "plugins_suspended", "Plugins that are not asked for now", len(document["plugins_suspended"])
        )
        yield from _policy(document["policy"])
        yield from _observed(document["observed"])
        yield from _workers(document["workers"])
        yield from _own()
        yield from _guarded(document)


def _flows(flows: Mapping[str, float]) -> Iterator[Metric]:
    is_open = GaugeMetricFamily(f"{PREFIX}flows_open", "Flows open now", labels=["network"])
    for kind in _KINDS:
        is_open.add_metric([kind], flows.get(kind, 0))
    yield is_open
    states = GaugeMetricFamily(f"{PREFIX}tcp_flows", "TCP flows in states of their own", labels=["state"])
    for key, state in _TCP_STATES.items():
        states.add_metric([state], flows.get(key, 0))
    yield states
    yield gauge("flow_memory_bytes", "Octets that flows hold", flows.get("memory_bytes", 0))


def _traffic(traffic: Mapping[str, float]) -> Iterator[Metric]:
    for name, words in (("frames", "Frames"), ("bytes", "Octets of IP packets")):
        family = CounterMetricFamily(
            f"{PREFIX}{name}", f"{words} from programs (in) and to them (out)", labels=["direction"]
        )
        for direction in ("in", "out"):
            family.add_metric([direction], traffic.get(f"{name}_{direction}", 0))
        yield family


def _policy(policy: Mapping[str, Any]) -> Iterator[Metric]:
    yield gauge("policy_generation", "Which policy is in force, counted from 1", policy.get("generation", 0))
    yield gauge("policy_rules", "Rules of the policy", policy.get("rules", 0))
    words = "Whether the last reload failed, so that the policy is an old one"
    yield gauge("policy_is_old", words, 1 if policy.get("error") else 0)


def _workers(workers: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    restarts = CounterMetricFamily(
        f"{PREFIX}worker_restarts", "Workers that took the place of one that died", labels=["worker"]
    )
    for number, worker in enumerate(workers):
        restarts.add_metric([str(number)], worker.get("restarts", 0))
    yield restarts
    spent = CounterMetricFamily(
        f"{PREFIX}worker_cpu_seconds", "Processor time that a worker has used", labels=["worker"]
    )
    for number, worker in enumerate(workers):
        spent.add_metric([str(number)], worker.get("cpu_seconds", 0))
    yield spent
    for key, words in _OF_WORKERS:
        family = GaugeMetricFamily(f"{PREFIX}worker_{key}", words, labels=["worker"])
        for number, worker in enumerate(workers):
            if key in worker:
                family.add_metric([str(number)], worker[key])
        yield family


def _observed(rules: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    for key, name, words in (
        ("flows", "flows", "Flows that a rule would have decided that only counts"),
        ("octets", "bytes", "Octets of such flows that are over"),
    ):
        family = CounterMetricFamily(f"{PREFIX}observed_rule_{name}", words, labels=["rule", "place"])
        for rule in rules:
            family.add_metric([str(rule["rule"]), str(rule["place"])], rule[key])
        yield family


def _own() -> Iterator[Metric]:
    """Yield what the supervisor itself uses, where this runs."""
    yield gauge(
        "supervisor_memory_bytes", "Octets of memory that only the supervisor holds", resident_memory()
    )
    words = "Processor time that the supervisor has used"
    yield CounterMetricFamily(f"{PREFIX}supervisor_cpu_seconds", words, value=time.process_time())


def _guarded(document: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield what parts of the supervisor count, those that it has."""
    for part, key, name, words in _GUARDED:
        if part in document:
            yield CounterMetricFamily(PREFIX + name, words, value=document[part].get(key, 0))
