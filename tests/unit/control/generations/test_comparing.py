"""Differences in the words of a unified diff."""

import subprocess
from pathlib import Path

import pytest

from tests.unit.control.generations.kept import CONFIG_PATH, RULES_PATH, contents
from tunproxy.control.generations import comparing
from tunproxy.control.generations.comparing import Side, compare
from tunproxy.control.generations.contents import PLUGIN, RULE_SET, SECRET, FileState

OLD = b'default = "DIRECT"\npassword = "hunter22"\na = 1\nb = 2\nc = 3\nd = 4\ne = 5\n'
NEW = b'default = "work"\npassword = "tiger-42"\na = 1\nb = 2\nc = 3\nd = 4\ne = 6\n'


def test_same_files_differ_in_nothing() -> None:
    assert compare(Side("a", contents(OLD)), Side("b", contents(OLD))) == []


def test_lines_are_shown_and_secrets_are_not() -> None:
    found = compare(Side("running", contents(OLD)), Side("files", contents(NEW)))
    assert found == [
        f"--- {CONFIG_PATH} (running)",
        f"+++ {CONFIG_PATH} (files)",
        "@@ -1,7 +1,7 @@",
        '-default = "DIRECT"',
        "-password = ***",
        '+default = "work"',
        "+password = ***",
        " a = 1",
        " b = 2",
        " c = 3",
        " d = 4",
        "-e = 5",
        "+e = 6",
    ]
    assert '-password = "hunter22"' in compare(
        Side("a", contents(OLD)), Side("b", contents(NEW)), with_secrets=True
    )


def test_patch_turns_one_into_the_other(tmp_path: Path) -> None:
    """What is shown is a diff that programs understand."""
    old = "".join(f"line {number}\n" for number in range(40))
    new = (
        old.replace("line 3\n", "").replace("line 20\n", "line 20\nand more\n").replace("line 39\n", "end\n")
    )
    lines = compare(Side("a", contents(old.encode())), Side("b", contents(new.encode())))
    (tmp_path / "x").write_text(old)
    done = subprocess.run(
        ["patch", "x"],
        input="\n".join(lines) + "\n",
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "x").read_text() == new


def test_files_that_come_and_go() -> None:
    found = compare(Side("a", contents(OLD)), Side("b", contents(OLD, home=b"MATCH,DIRECT\n")))
    assert found == ["--- /dev/null", f"+++ {RULES_PATH} (b)", "@@ -0,0 +1 @@", "+MATCH,DIRECT"]


def test_file_of_a_secret_is_shown_to_who_asks_only() -> None:
    sides = [Side(name, {"/pw": FileState(SECRET, data)}) for name, data in (("a", b"one"), ("b", b"two"))]
    assert compare(*sides)[2:] == ["! differs (--secrets shows how)"]
    assert compare(*sides, with_secrets=True)[3:] == ["-one", "+two"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"\0\1", b"\0\2", "! differs, and is no text"),
        (b"\xff", b"text", "! differs, and is no text"),
        (b"a\r\n", b"a\n", "! differs in line ends or encoding"),
    ],
)
def test_what_is_no_text_is_told(old: bytes, new: bytes, words: str) -> None:
    sides = [Side(name, {"/x": FileState(PLUGIN, data)}) for name, data in (("a", old), ("b", new))]
    assert compare(*sides)[2:] == [words]


def test_large_files_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MOST_LINES", 10)
    data = [b"".join(b"%d.example\n" % number for number in range(start, start + 100)) for start in (0, 3)]
    sides = [Side(name, {"/x": FileState(RULE_SET, each)}) for name, each in zip("ab", data, strict=True)]
    assert compare(*sides)[2:] == ["! 3 lines came and 3 went; too many to show"]


def test_what_is_not_kept_any_more_is_told() -> None:
    digest = FileState(RULE_SET, b"x").digest
    assert compare(Side("a", {}, {"/x": digest}), Side("b", {"/x": FileState(RULE_SET, b"x")})) == []
    found = compare(Side("a", {}, {"/x": "0" * 64}), Side("b", {"/x": FileState(RULE_SET, b"x")}))
    assert found[2:] == ["! differs; what it held then is not kept"]


def test_options_and_selections_are_compared() -> None:
    old = Side("a", {}, {}, {"plugin": "/x.py\n/y.py"}, {"group": "one"})
    new = Side("b", {}, {}, {"plugin": "/x.py"}, {"group": "two"})
    found = compare(old, new)
    assert "-plugin = /x.py, /y.py" in found
    assert "+group = two" in found


def test_terminal_gets_no_orders() -> None:
    sides = [Side("a", contents(b"")), Side("b", contents(b'x = "\x1b[31m\x07"\n'))]
    assert "\x1b" not in "".join(compare(*sides))


@pytest.mark.timeout(20)
def test_lines_that_are_all_alike_do_not_take_long() -> None:
    old, new = (b"x\n" * 4900 + b"y\n" * count for count in (1, 90))
    found = compare(Side("a", contents(old)), Side("b", contents(new)))
    assert sum(line == "+y" for line in found) >= 1
