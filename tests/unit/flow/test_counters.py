"""Counters by name."""

from tunproxy.flow.counters import Counters
from tunproxy.wire import reasons


def test_fresh_counters_are_zero() -> None:
    found = Counters().snapshot()
    assert set(found.values()) == {0}
    assert not [name for name in found if name.startswith("drop_")]


def test_drops_are_counted_by_reason() -> None:
    counters = Counters()
    for reason in (reasons.BAD_CHECKSUM, reasons.BAD_CHECKSUM, reasons.NO_FLOW):
        counters.drop(reason)
    found = counters.snapshot()
    assert {name: count for name, count in found.items() if name.startswith("drop_")} == {
        "drop_bad_checksum": 2,
        "drop_no_flow": 1,
    }


def test_every_reason_has_a_counter_and_a_name_for_metrics() -> None:
    counters = Counters()
    for reason in range(len(reasons.NAMES)):
        counters.drop(reason)
    names = [name for name in counters.snapshot() if name.startswith("drop_")]
    assert len(names) == len(reasons.NAMES)
    assert all(name.isidentifier() for name in names)


def test_snapshot_does_not_change_afterwards() -> None:
    counters = Counters()
    counters.frames_in += 5
    found = counters.snapshot()
    counters.frames_in += 1
    counters.drop(reasons.NO_FLOW)
    assert found["frames_in"] == 5
    assert "drop_no_flow" not in found
