"""What is known of a packet's flow, as the filter and the words beside the packet see it."""

import pytest

from tests.unit.control.packets.world import key, world
from tunproxy.control.packets import rows, words
from tunproxy.control.packets.keys import ends_of
from tunproxy.control.packets.rows import row_by_now, row_without_flow
from tunproxy.decide.trace import WAITING
from tunproxy.wire.ip import TCP


def test_row_of_a_flow_that_is_not_decided_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting:
        state = WAITING

    with world() as made:
        life = made.begin(80, name="shop.example")
        assert row_by_now(life, None)["name"] == "shop.example"
        monkeypatch.setattr(rows, "trace_of", lambda info: Waiting())
        row = row_by_now(life, None)
        assert {"name", "verdict", "rule"}.isdisjoint(row)
        assert words.beginning(row).endswith("; not decided yet")
        made.end(life)
        assert "verdict" in row_by_now(life, None), "it will not be decided any more"


def test_owner_is_nobody_where_nobody_can_tell() -> None:
    with world() as made:
        row = row_by_now(made.begin(80), None)
    assert (row["process"], row["process_path"], row["uid"]) == ("", "", -1)


def test_row_without_flow_has_all_that_a_filter_asks_about() -> None:
    with world() as made:
        row = row_without_flow(ends_of(int(TCP), key(80)))
        known = row_by_now(made.begin(80), None)
    assert (row["number"], row["protocol"], row["target_port"]) == (0, "tcp", 80)
    assert words.beginning(row).startswith("no flow: tcp ")
    asked = ("name", "target", "client", "process", "process_path", "rule", "why", "upstream", "chain", "uid")
    assert {*asked, "verdict", "state", "number"} <= row.keys() & known.keys()
