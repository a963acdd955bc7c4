"""Measures in Prometheus's words, read back by its own parser."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.control.measured import MEASURES
from tunproxy.control.measures_metrics import MeasuresCollector
from tunproxy.control.measuring import summed


def samples(measures: dict[str, object]) -> dict[tuple[str, tuple[str, ...]], float]:
    registry = CollectorRegistry()
    registry.register(MeasuresCollector(measures))
    return {
        (sample.name.removeprefix("tunproxy_"), tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("verdicts_total", ("DIRECT",), 1),
        ("rule_flows_total", ("default", "DIRECT", ""), 1),
        ("rule_flows_total", ("3", "work", "DOMAIN,x,work"), 9),
        ("upstream_up", ("work",), 0),
        ("upstream_up", ("home",), 1),
        ("upstream_test_failures", ("work",), 3),
        ("upstream_test_seconds", ("work",), 0.375),
        ("group_member_workers", ("auto", "home"), 1),
        ("dns_events_total", ("queries",), 8),
        ("dns_cache_entries", (), 3),
        ("dns_known_names", (), 5),
        ("dns_fake_names", (), 0),
        ("dns_resolver_events_total", ("failed", "9.9.9.9"), 1),
    ],
)
def test_number_has_its_name(name: str, labels: tuple[str, ...], value: float) -> None:
    assert samples(MEASURES)[name, labels] == value


def test_upstream_that_failed_has_no_time() -> None:
    assert ("upstream_test_seconds", ("home",)) not in samples(MEASURES)


def test_without_answers_there_are_no_series_with_labels() -> None:
    assert all(labels == () for _, labels in samples(summed([])))
