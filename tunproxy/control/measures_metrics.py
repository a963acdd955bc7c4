"""What workers measure, in Prometheus's words (``measuring`` has the document)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final  # Any as the workers' JSON has it

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX: Final = "tunproxy_"

_OF_NAMES: Final = (
    ("open", "dns_open_queries", "Questions for names that are being answered"),
    ("cached", "dns_cache_entries", "Answers that are kept"),
    ("cached_octets", "dns_cache_bytes", "Octets of answers that are kept"),
    ("names", "dns_known_names", "Addresses whose names are known"),
    ("fake_names", "dns_fake_names", "Fake addresses that stand for names"),
)


def gauge(name: str, words: str, value: float) -> Metric:
    """Return a number that goes up and down."""
    return GaugeMetricFamily(PREFIX + name, words, value=value)


def counts(name: str, words: str, label: str, counted: Mapping[str, float]) -> Metric:
    """Return counters that one label tells apart."""
    family = CounterMetricFamily(PREFIX + name, words, labels=[label])
    for each, count in counted.items():
        family.add_metric([str(each)], count)
    return family


class MeasuresCollector(Collector):
    """Has one document."""

    def __init__(self, measures: Mapping[str, Any]) -> None:
        self._measures: Final = measures

    def collect(self) -> Iterator[Metric]:
        measures = self._measures
        yield counts("verdicts", "Flows that rules have decided", "target", measures["targets"])
        rules = CounterMetricFamily(
            f"{PREFIX}rule_flows", "Flows that each rule has decided", labels=["rule", "text", "target"]
        )
        for place, text, target, count in measures["rules"]:
            rules.add_metric(["default" if place < 0 else str(place + 1), text, target], count)
        yield rules
        yield from _upstreams(measures["upstreams"])
        members = GaugeMetricFamily(
            f"{PREFIX}group_member_workers",
            "Workers in which a group uses a member",
            labels=["group", "member"],
        )
        for group, used in measures["groups"].items():
            for member, workers in used.items():
                members.add_metric([group, member], workers)
        yield members
        yield from _names(measures["dns"])


def _upstreams(upstreams: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    is_up = GaugeMetricFamily(f"{PREFIX}upstream_up", "Whether the last tests went well", labels=["upstream"])
    failures = GaugeMetricFamily(
        f"{PREFIX}upstream_test_failures", "Tests that have failed in a row", labels=["upstream"]
    )
    seconds = GaugeMetricFamily(
        f"{PREFIX}upstream_test_seconds", "What the last test took, where it went well", labels=["upstream"]
    )
    for name, tests in upstreams.items():
        is_up.add_metric([name], tests["up"])
        failures.add_metric([name], tests["failures"])
        if tests["seconds"] is not None:
            seconds.add_metric([name], tests["seconds"])
    yield from (is_up, failures, seconds)


def _names(names: Mapping[str, Any]) -> Iterator[Metric]:
    yield counts("dns_events", "Questions for names, and what became of them", "event", names["counts"])
    for key, name, words in _OF_NAMES:
        yield gauge(name, words, names["gauges"].get(key, 0))
    resolvers = CounterMetricFamily(
        f"{PREFIX}dns_resolver_events",
        "Questions to resolvers, and what went wrong",
        labels=["resolver", "event"],
    )
    for resolver, counted in names["resolvers"].items():
        for event, count in counted.items():
            resolvers.add_metric([resolver, event], count)
    yield resolvers
