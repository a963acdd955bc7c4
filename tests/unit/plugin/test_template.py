"""What `plugins new` writes works at once."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tunproxy.errors import ConfigError
from tunproxy.plugin.template import write_drop_in, write_project


def passes(test: Path) -> str:
    """Run a test file with pytest, and return its last line."""
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name]
    ended = subprocess.run(command, cwd=test.parent, capture_output=True, text=True, check=False)
    return (ended.stdout.strip().splitlines() or [ended.stderr])[-1]


def test_write_project_is_a_package_whose_tests_pass(tmp_path: Path) -> None:
    paths = write_project("no_telnet", tmp_path / "here" / "no_telnet")
    assert [path.name for path in paths] == [
        "README.md",
        "pyproject.toml",
        "no_telnet.py",
        "test_no_telnet.py",
    ]
    project = tomllib.loads(paths[1].read_text())
    assert project["project"]["name"] == "tunproxy-no-telnet"
    assert project["project"]["entry-points"]["tunproxy"] == {"no_telnet": "no_telnet"}
    assert "3 passed" in passes(paths[-1])


def test_write_drop_in_is_one_file_and_its_test(tmp_path: Path) -> None:
    paths = write_drop_in("no_telnet", tmp_path / "plugins")
    assert [path.name for path in paths] == ["no_telnet.py", "test_no_telnet.py"]
    assert "3 passed" in passes(paths[-1])


def test_write_overwrites_nothing(tmp_path: Path) -> None:
    write_drop_in("a", tmp_path)
    (tmp_path / "a.py").write_text("mine")
    with pytest.raises(ConfigError, match=r"a.py: it exists \(choose another name\)"):
        write_drop_in("a", tmp_path)
    with pytest.raises(ConfigError, match="it exists"):
        write_project("a", tmp_path)
    assert (tmp_path / "a.py").read_text() == "mine"


def test_write_where_one_may_not_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot make"):
        write_project("a", tmp_path / "file" / "a")
