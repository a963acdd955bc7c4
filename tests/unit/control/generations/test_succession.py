"""Which one runs, which came before, and what is other."""

from pathlib import Path

import msgspec
import pytest

from tests.unit.control.generations.kept import CONFIG_PATH, RULES_PATH, contents, keep, store_in
from tunproxy.control.generations.contents import PLUGIN, RULE_SET, FileState
from tunproxy.control.generations.record import ASIDE, FAILED, TRIAL
from tunproxy.control.generations.succession import (
    change_between,
    contents_in,
    kept_of,
    octets_reader,
    one_before,
    running,
)
from tunproxy.plugin.discovery import FILE, FOLDER


def test_running_is_the_newest_that_was_not_taken_back(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert running([]) is None
    keep(store, b"1")
    keep(store, b"2", TRIAL)
    keep(store, b"3", FAILED)
    keep(store, b"4", ASIDE)
    now = running(store.find().generations)
    assert now is not None
    assert now.number == 2


def test_going_back_step_by_step(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for text, state, restores in (
        (b"1", TRIAL, 0), (b"2", TRIAL, 0), (b"bad", FAILED, 0), (b"3", TRIAL, 0), (b"3", TRIAL, 0),
        (b"2", TRIAL, 2), (b"1", TRIAL, 1), (b"4", TRIAL, 0),
    ):  # fmt: skip
        keep(store, text, state, restores=restores)
    found = store.find()
    steps = {}
    for now in found.generations:
        before = one_before(found.generations, now)
        steps[now.number] = before.number if before is not None else 0
    assert steps == {1: 0, 2: 1, 3: 2, 4: 2, 5: 2, 6: 1, 7: 0, 8: 7}


def test_undo_of_an_undo_that_is_forgotten_ends(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    keep(store, b"1")
    now = keep(store, b"2", restores=77)
    assert one_before(store.find().generations, now) is not None
    loop = msgspec.structs.replace(now, restores=now.number)
    assert one_before([loop], loop) is None


def test_contents_come_back_and_lost_ones_are_told(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    made = keep(store, contents(b"x", home=b"MATCH,DIRECT\n"))
    assert contents_in(store, made)[1] == []
    (store.folder / "objects" / made.files[1].digest[:2] / made.files[1].digest[2:]).unlink()
    found, lost = contents_in(store, made)
    assert lost == [RULES_PATH]
    assert [*found] == [CONFIG_PATH]


def test_plugins_are_what_they_were(tmp_path: Path) -> None:
    made = keep(
        store_in(tmp_path),
        {**contents(b"x"), "/p/a.py": FileState(PLUGIN, b"a"), "/q/b.py": FileState(PLUGIN, b"b")},
    )
    found, _ = contents_in(store_in(tmp_path), made)
    kept = kept_of(made, found, ["/q/b.py"])
    assert [(str(each.path), each.kind, each.data) for each in kept.plugin_files] == [
        ("/p/a.py", FOLDER, b"a"),
        ("/q/b.py", FILE, b"b"),
    ]
    assert (kept.config, kept.files) == (CONFIG_PATH, {CONFIG_PATH: b"x"})
    assert "b'x'" not in repr(kept)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (contents(b"a\nb\n"), "nothing"),
        (contents(b"a\nc\nd\n"), "tunproxy.toml +2 -1"),
        (contents(b"a\nb\n", home=b"x"), "home.rules new"),
        (contents(b"a\0b\n"), "tunproxy.toml"),
        ({}, "tunproxy.toml gone"),
        (
            {
                **contents(b"", a=b"", b=b""),
                "/c.txt": FileState(RULE_SET, b""),
                "/d": FileState(RULE_SET, b""),
            },
            "tunproxy.toml +0 -2, c.txt new, d new, a.rules new and 1 more",
        ),
    ],
)
def test_change_in_a_line(tmp_path: Path, new: dict[str, FileState], words: str) -> None:
    store = store_in(tmp_path)
    old = keep(store, b"a\nb\n")
    assert change_between(old, new, {}, octets_reader(store, old)) == words


def test_change_of_options_and_the_first_one(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    old = keep(store, b"x", options={"rules": "/a"})
    read = octets_reader(store, old)
    assert change_between(old, contents(b"x"), {"rules": "/b"}, read) == "options"
    assert change_between(None, contents(b"x"), {}, octets_reader(store, None)) == "the first"


def test_large_files_are_counted_by_lines(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    old = keep(store, b"line\n" * 9000)
    new = contents(b"line\n" * 9500)
    assert change_between(old, new, {}, octets_reader(store, old)) == "tunproxy.toml +500"
