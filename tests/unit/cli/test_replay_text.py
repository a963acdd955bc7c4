"""What a replay has found, in words."""

from pathlib import Path

from tests.unit.control.history.world import entry, replay_by
from tunproxy.cli.replay_text import describe_replay
from tunproxy.control.history.changes import Changes


def changes(folder: Path, *entries: dict[str, object]) -> Changes:
    found = Changes(replay_by(folder, "DST-PORT,443,work", "PROCESS-NAME,wget,REJECT"))
    for each in entries:
        found.take(each)
    return found


def test_groups_say_from_where_to_where_and_why(tmp_path: Path) -> None:
    found = changes(
        tmp_path,
        *(entry(name=f"{name}.example") for name in "abcda"),
        entry(target_port=80),
        entry(target_port=80, facts={"process_asked": False}),
        entry(way=None, decided_by="plugin"),
    )
    place = f"{tmp_path / 'tunproxy.toml'}:1"
    assert describe_replay(found).splitlines() == [
        "direct → work: 5 flows, 50 B up, 10.0 kB down",
        "    to  a.example (2), b.example (1), c.example (1) and 1 more",
        f"    by  DST-PORT,443,work ({place}): 5",
        "",
        "5 of 8 flows would go elsewhere",
        "1 flow cannot be said: the process is unknown",
        "1 flow not compared, decided by a plugin or a mode, before any rule",
    ]
    assert "direct, as before: 1 flow, 10 B up, 2.0 kB down" in describe_replay(found, every=True)


def test_nothing_to_ask_about(tmp_path: Path) -> None:
    assert describe_replay(changes(tmp_path)) == "there is no flow to ask the rules about"
