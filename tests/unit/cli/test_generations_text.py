"""Generations as a person reads them."""

import pytest

from tunproxy.cli.generations_text import (
    coloured,
    describe_generations,
    describe_pending,
    describe_undone,
)


def row(number: int, **more: object) -> dict[str, object]:
    return {
        "number": number, "at": 0.0, "by": "save", "change": "home.rules +1 -0", "state": "healthy",
        "why": "", "is_running": False, **more,
    }  # fmt: skip


def test_list_has_a_line_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(9, by="start"), row(10, state="failed", why="check 'x' fails\x1b"), row(11, is_running=True)]
    lines = describe_generations({"generations": rows, "broken": [3, 4], "problem": "no room"}).splitlines()
    assert lines[0].startswith("  9  19")
    assert lines[0].endswith("  start  healthy  home.rules +1 -0")
    assert lines[1].endswith("  save   failed   home.rules +1 -0: check 'x' fails?")
    assert lines[2].startswith("*11  ")
    assert lines[3:] == ["damaged, and left out: 3, 4", "the one that runs is not kept: no room"]
    assert describe_generations({"generations": [], "broken": [], "problem": ""}) == "none"


def test_undo_says_what_runs_and_where_the_newer_files_are() -> None:
    document = {
        "generation": 9, "restores": 7, "is_new": True, "written": ["/a"], "moved": {"/b": "/b.undone-8"},
        "notes": ["/c stays as it is: why"], "kept_as": 8,
    }  # fmt: skip
    assert describe_undone(document).splitlines() == [
        "generation 7 is in force again, as generation 9",
        "put back: /a",
        "moved away: /b, which is /b.undone-8 now",
        "/c stays as it is: why",
        "what the files held is generation 8 (tunproxy undo 8 brings it back)",
    ]
    nothing = {**document, "written": [], "moved": {}, "notes": [], "kept_as": 0}
    assert describe_undone(nothing).splitlines()[1:] == ["the files stay as they are"]
    assert describe_undone({**nothing, "is_new": False}).splitlines()[0] == "generation 7 runs, as before"
    words = "generation 7 is what the next start finds"
    assert describe_undone({**nothing, "is_new": False, "generation": 0}).splitlines()[0] == words


def test_reload_that_has_to_be_confirmed_says_what_runs_otherwise() -> None:
    stays = "tunproxy confirm lets it stay"
    assert describe_pending({}, 60) == f"it is taken back in 60 s: {stays}"
    changed = {"generation": 4, "goes_back_to": 3}
    assert describe_pending(changed, 60) == f"it is taken back in 60 s, and generation 3 runs again: {stays}"
    same = {"generation": 3, "goes_back_to": 3}
    assert describe_pending(same, 60) == (
        f"generation 3 runs, as before; what is saved within 60 s is taken back then: {stays}"
    )


def test_colours_are_for_terminals() -> None:
    lines = ["--- a", "+++ b", "@@ -1 +1 @@", "-x", "+y", " z", "! note\x07"]
    assert coloured(lines, in_colour=False) == "\n".join([*lines[:-1], "! note?"])
    shown = coloured(lines, in_colour=True).splitlines()
    assert shown[0] == "\x1b[1m--- a\x1b[0m"
    assert shown[3:6] == ["\x1b[31m-x\x1b[0m", "\x1b[32m+y\x1b[0m", " z"]
