"""``tunproxy rules``."""

import io
import sys
from pathlib import Path

import pytest

from tests.unit.control.policies import use_tree_plugins, written
from tunproxy.cli import main


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return tmp_path / "a.rules"


def test_lint_finds_what_is_hardly_meant(rules: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rules.write_text("DOMAIN-SUFFIX,a.com,work\n")
    assert main.run(["rules", "lint", str(rules)]) == 0
    assert capfd.readouterr().out == ""
    rules.write_text("DOMAIN-SUFFIX,a.com,work\nDOMAIN,x.a.com,work\n")
    assert main.run(["rules", "lint", str(rules)]) == 1
    assert capfd.readouterr().out.startswith(f"{rules}:2:1: shadowed: ")


def test_lint_with_a_configuration_knows_targets(
    rules: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    use_tree_plugins(monkeypatch)
    rules.write_text("DOMAIN,a.com,work\n")
    config = written(rules.parent, "")
    assert main.run(["rules", "lint", str(rules), "--config", str(config)]) == 2
    assert f"{rules}:1:14: unknown target 'work'" in capfd.readouterr().err


def test_fmt_changes_a_file_once(rules: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rules.write_text("domain , A.com , work  # x\n")
    assert main.run(["rules", "fmt", "--check", str(rules)]) == 1
    assert rules.read_text() == "domain , A.com , work  # x\n"
    assert main.run(["rules", "fmt", str(rules)]) == 0
    assert rules.read_text() == "DOMAIN,a.com,work  # x\n"
    assert main.run(["rules", "fmt", "--check", str(rules)]) == 0
    rules.write_bytes(b"\xff")
    assert main.run(["rules", "fmt", str(rules)]) == 2
    assert "is not UTF-8" in capfd.readouterr().err


def test_fmt_of_standard_input(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"match , a\n")))
    assert main.run(["rules", "fmt", "-"]) == 0
    assert capfd.readouterr().out == "MATCH,a\n"
    for arguments in (["fmt", "-"], ["fmt", "--check", "-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"MATCH,a\n\xff\n")))
        assert main.run(["rules", *arguments]) == 2
        out, err = capfd.readouterr()
        assert (out, err) == ("", "tunproxy: cannot format -: it is not UTF-8 (line 2)\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"match , a\n")))
    assert main.run(["rules", "fmt", "--check", "-"]) == 1


def test_fmt_of_a_configuration_says_where_rules_can_be_formatted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, 'rules = ["MATCH,DIRECT"]\n')
    assert main.run(["rules", "fmt", str(path)]) == 2
    assert "it is a configuration" in capfd.readouterr().err


def test_lint_and_test_of_a_configuration_are_about_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    use_tree_plugins(monkeypatch)
    path = written(
        tmp_path,
        'rules = [\n  # expect: a.com:80 => REJECT\n  "DOMAIN,a.com,REJECT",\n  "DOMAIN,a.com,DIRECT",\n]\n',
    )
    assert main.run(["rules", "lint", str(path)]) == 1
    assert capfd.readouterr().out.startswith(f"{path}:4:4: duplicate: ")
    assert main.run(["rules", "test", str(path)]) == 0
    assert capfd.readouterr().out == "1 of 1 expectations are met\n"
    path.write_text('rules = ["DOMIAN,a.com,REJECT"]\n')
    assert main.run(["rules", "lint", str(path)]) == 2
    assert capfd.readouterr().err.count("unknown rule type") == 1
    assert main.run(["rules", "lint", str(path), "--config", str(path)]) == 2
    assert "it is a configuration itself (leave out --config)" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["lint", "test"])
def test_file_that_cannot_be_read_is_told_without_a_line(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["rules", command, str(tmp_path / "x")]) == 2
    assert capfd.readouterr().err == f"tunproxy: cannot read {tmp_path / 'x'}: no such file or directory\n"


def test_test_counts_and_shows_what_is_not_met(rules: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rules.write_text("# expect: a.com:80 => work\nDOMAIN,a.com,work\n")
    assert main.run(["rules", "test", str(rules)]) == 0
    assert capfd.readouterr().out == "1 of 1 expectations are met\n"
    rules.write_text("# expect: b.com:80 => work\nDOMAIN,a.com,work\n")
    assert main.run(["rules", "test", str(rules)]) == 1
    assert capfd.readouterr().out == (
        f"{rules}:1:11: expected 'work', goes to 'DIRECT': no rule is met\n0 of 1 expectations are met\n"
    )
    rules.write_text("# expect: b.com => work\n")
    assert main.run(["rules", "test", str(rules)]) == 2


def test_update_tells_of_each_rule_set(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What becomes of each, test_rule_downloads has; here nobody listens."""
    (tmp_path / "a.txt").write_text("a.example\n")
    config = written(
        tmp_path,
        '[rule-sets.a]\npath = "a.txt"\nurl = "http://127.0.0.1:1/"\n'
        '[rule-sets.missing]\npath = "b.txt"\nurl = "ftp://127.0.0.1/"\n',
    )
    assert main.run(["rules", "update", "--config", str(config)]) == 1
    told = capfd.readouterr()
    assert told.out == ""
    assert "tunproxy: rule set a: connection refused; the old file stays\n" in told.err
    assert "tunproxy: rule set missing: it is no URL of http or https" in told.err
    assert main.run(["rules", "update", "--config", str(config), "b"]) == 2
    assert "there is no rule set 'b' (there are: a, missing)" in capfd.readouterr().err
