"""The plugin of pytest's, in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

PYTEST = (
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-p",
    "no:tunproxy-rules",  # that of the installed one, where there is one
    "-p",
    "tunproxy.cli.pytest_rules",
    "-p",
    "no:cacheprovider",
    "--rootdir",
    ".",
)


def run(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*PYTEST, "."], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path / "a.rules"


def test_each_expectation_is_a_test(rules: Path) -> None:
    rules.write_text("# expect: a.com:80 => work\n# expect: b.com:80 => work\nDOMAIN,a.com,work\n")
    done = run(rules.parent)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "a.rules:2:11: expected 'work', goes to 'DIRECT': no rule is met" in done.stdout


def test_broken_file_is_an_error_of_the_collection(rules: Path) -> None:
    rules.write_text("DOMIAN,a.com,work\n")
    done = run(rules.parent)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "a.rules:1:1: unknown rule type 'DOMIAN' (did you mean 'DOMAIN'?)" in done.stdout
