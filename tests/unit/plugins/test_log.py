"""The log plugin, through the hooks."""

import importlib
import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunproxy.errors import ConfigError
from tunproxy.testing import FlowClosed, FlowOpened, PluginRunner, make_flow

PLUGIN = importlib.import_module("tunproxy_plugins.log")
INFO = make_flow("tcp", "10.0.0.2", "192.0.2.7:443", name="www.example.org")
OPENED = FlowOpened(7, INFO, "work", "converse", "rule 3", 1_700_000_000.0)
CLOSED = FlowClosed(7, INFO, "work", 1_700_000_002.5, 2.5, 100, 2000, "closed")


def test_log_has_a_line_for_each_flow_that_is_over(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), PluginRunner(PLUGIN) as plugin:
        plugin.tell_opened(OPENED)
        plugin.tell_closed(CLOSED)
    assert [record.getMessage() for record in caplog.records if record.name == "tunproxy.flows"] == [
        "flow 7 tcp 10.0.0.2:40000 -> 192.0.2.7:443 (www.example.org): "
        "closed after 2.500 s, 100 up, 2000 down, by work"
    ]


def test_log_notes_beginnings_where_they_are_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), PluginRunner(PLUGIN, {"opened": True}) as plugin:
        plugin.tell_opened(OPENED)
    assert "(www.example.org): opened by work" in caplog.text
    (record,) = [each for each in caplog.records if each.name == "tunproxy.flows"]
    assert vars(record)["about"] == {"flow": str(INFO), "upstream": "work", "rule": "rule 3"}


def test_file_has_a_json_object_a_line_and_the_command_adds_it_up(tmp_path: Path) -> None:
    path = tmp_path / "flows.jsonl"
    with PluginRunner(PLUGIN, {"file": str(path), "opened": True}) as plugin:
        plugin.tell_opened(OPENED)
        plugin.tell_closed(CLOSED, CLOSED)
        plugin.tell_closed(FlowClosed(8, INFO, "direct", 1_700_000_003.0, 0.0, 0, 0, "refused"))
        app = plugin.commands()["flow-totals"].app
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["opened", "closed", "closed", "closed"]
    assert lines[1] == {
        "event": "closed", "at": 1_700_000_002.5, "flow": 7, "host": "www.example.org",
        "ends": "tcp 10.0.0.2:40000 -> 192.0.2.7:443", "upstream": "work", "lasted": 2.5,
        "up": 100, "down": 2000, "reason": "closed",
    }  # fmt: skip
    printed = CliRunner().invoke(app, [str(path)]).stdout
    assert printed == "work: 2 flows, 200 octets up, 4000 down\ndirect: 1 flows, 0 octets up, 0 down\n"


def test_command_says_which_line_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "flows.jsonl"
    path.write_text('{"event": "opened"}\n{"event": "closed"}\n')
    with PluginRunner(PLUGIN) as plugin:
        app = plugin.commands()["flow-totals"].app
    for file, why in (
        (path, "flows.jsonl:2: not a line of the log plugin"),
        (tmp_path / "no", "cannot read"),
    ):
        found = CliRunner().invoke(app, [str(file)]).exception
        assert isinstance(found, ConfigError)
        assert why in str(found)
