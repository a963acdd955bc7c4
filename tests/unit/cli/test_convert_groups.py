"""Groups of other programs as tables of groups."""

import tomllib
from pathlib import Path

import pytest

from tunproxy.cli import main
from tunproxy.cli.convert_groups import group_table
from tunproxy.rulesets.convert.report import Outlet

SING_BOX = """{"outbounds": [
  {"type": "http", "tag": "web", "server": "192.0.2.1", "server_port": 8080},
  {"type": "direct", "tag": "here"}, {"type": "block", "tag": "nowhere"},
  {"type": "urltest", "tag": "quick", "outbounds": ["web", "here"], "interval": "3m", "tolerance": 100},
  {"type": "selector", "tag": "pick", "outbounds": ["quick", "here", "nowhere", "gone"], "default": "quick"},
  {"type": "selector", "tag": "empty", "outbounds": ["gone"]}
], "dns": {}, "route": {"final": "pick"}}"""


def test_groups_keep_members_and_options_and_are_accounted_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text(SING_BOX)
    out = tmp_path / "out.toml"
    assert main.run(["convert", str(tmp_path / "in"), "-o", str(out)]) == 0
    assert tomllib.loads(out.read_text())["groups"] == {
        "quick": {"type": "url-test", "members": ["web", "DIRECT"], "interval": 180, "tolerance": 100},
        "pick": {"type": "select", "members": ["quick", "DIRECT", "REJECT"], "selected": "quick"},
        "empty": {"type": "select", "members": []},
    }
    err = capfd.readouterr().err
    assert ": exact: group quick\n" in err
    assert ": approximated: group pick: there is no member 'gone'\n" in err
    assert ": dropped: group empty: it has no member that is in the file: fill them in; there is no" in err
    assert "left out, as not about rules and proxies: dns\n" in err
    assert err.endswith("; groups: 1 exact, 1 approximated, 1 dropped\n")


def test_choice_that_is_no_member_is_left_out() -> None:
    outlet = Outlet("g", "group select", ("a",), options={"selected": "b"})
    assert group_table(outlet, ["a", "a"], {"a", "b"}).lines == [
        '[groups."g"]',
        'type = "select"',
        'members = ["a"]',
    ]


def test_group_that_no_rule_could_name_is_left_out() -> None:
    table = group_table(Outlet("a,b", "group select", ("a",)), ["a"], {"a"})
    assert (table.lines[0][0], table.result) == ("#", "dropped")
