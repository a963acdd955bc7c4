"""Fields of a line."""

import logging

import pytest

from tests.unit.logs.records import record
from tunproxy.logs.about import about, fields_of


def test_fields_reach_the_record(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("tunproxy.test").warning(
        "slow", extra=about(upstream="work", flow=7, rule=None, plugin="")
    )
    assert fields_of(caplog.records[0]) == {"upstream": "work", "flow": "7"}


def test_record_without_fields_has_none() -> None:
    assert fields_of(record()) == {}
    assert fields_of(record(about="of another library")) == {}


def test_zero_is_a_value() -> None:
    assert about(worker=0, rule=0) == {"about": {"worker": "0", "rule": "0"}}
