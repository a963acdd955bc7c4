"""Rule files by themselves and with their configuration."""

from pathlib import Path

import pytest

from tests.unit.control.policies import use_tree_plugins, written
from tunproxy.control.config.problems import ConfigProblems
from tunproxy.control.rule_files import check_file, read_checked
from tunproxy.errors import ConfigError


def test_file_by_itself_knows_its_own_targets_only(tmp_path: Path) -> None:
    path = tmp_path / "a.rules"
    path.write_text("DOMAIN,a,anything\nRULE-SET,ads,REJECT\n")
    checked = read_checked(str(path))
    assert (checked.targets, checked.set_names) == (["REJECT", "anything"], ["ads"])


def test_file_with_a_configuration_is_checked_against_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tree_plugins(monkeypatch)
    config = written(
        tmp_path,
        'default = "REJECT"\n[rule-sets.ads]\npath = "ads.txt"\nformat = "text"\nbehavior = "domain"\n',
        ads_txt="+.ads.example\n",
        a_rules="# expect: x.ads.example:80 => DIRECT\n# expect: x.example:80 => REJECT\n"
        "RULE-SET,ads,DIRECT\n",
    )
    path = tmp_path / "a.rules"
    assert [outcome.is_met for outcome in check_file(str(path), str(config))] == [True, True]
    path.write_text("MATCH,work\n")
    with pytest.raises(ConfigProblems, match=r"a\.rules:1:7: unknown target 'work'"):
        read_checked(str(path), str(config))


def test_rule_whose_target_cannot_carry_the_flow_is_passed_over_as_in_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tree_plugins(monkeypatch)
    config = written(tmp_path, '[upstreams.web]\ntype = "http"\nserver = "192.0.2.1"\n')
    path = tmp_path / "a.rules"
    path.write_text(
        "# expect: x.example:443 => web\n"
        "# expect: x.example:443/udp => REJECT\n"
        "# expect: x.example/icmp => REJECT\n"
        "DOMAIN,x.example,web\nNETWORK,udp,REJECT\n"
    )
    outcomes = check_file(str(path), str(config))
    assert [str(outcome) for outcome in outcomes if not outcome.is_met] == []
    assert outcomes[1].why == "line 5: NETWORK,udp,REJECT (network udp)"
    # without a configuration nobody knows what targets are
    assert [outcome.target for outcome in check_file(str(path))] == ["web", "web", "web"]


def test_broken_rules_and_expectations_are_problems(tmp_path: Path) -> None:
    path = tmp_path / "a.rules"
    path.write_text("DOMIAN,a,b\n")
    with pytest.raises(ConfigProblems, match=r"a\.rules:1:1: unknown rule type 'DOMIAN' \(did you mean"):
        read_checked(str(path))
    path.write_text("# expect: nonsense\n")
    with pytest.raises(ConfigProblems, match=r"a\.rules:1:11: no target"):
        check_file(str(path))


def test_configuration_of_another_program_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "clash.yaml"
    path.write_text("port: 7890\nproxies:\n  - {name: a}\nrules:\n  - MATCH,a\n")
    with pytest.raises(
        ConfigError, match=r"clash\.yaml: it looks like a configuration of clash \(see tunproxy convert"
    ):
        read_checked(str(path))


def test_message_names_the_rule_file(tmp_path: Path) -> None:
    path = tmp_path / "a.rules"
    path.write_text("DOMIAN,a,b\n")
    with pytest.raises(ConfigProblems, match=rf"^cannot use {path}: 1 problem\n"):
        read_checked(str(path))


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^cannot read {tmp_path}: is a directory$"):
        read_checked(str(tmp_path))
