"""Flows that would go elsewhere, added up."""

from pathlib import Path

from tests.unit.control.history.world import entry, replay_by
from tunproxy.control.history.changes import MOST_NAMES, Changes


def test_groups_are_by_where_from_and_where_to_the_largest_first(tmp_path: Path) -> None:
    changes = Changes(replay_by(tmp_path, "DST-PORT,80,REJECT", "DST-PORT,443,work"))
    entries = [entry(target_port=80), *[entry(name=f"{at}.example") for at in range(4)], entry(target_port=9)]
    entries.append(entry(target_port=9, way="work"))
    found = [each for each in map(changes.take, entries) if each is not None]
    assert [each["to"] for each in found] == ["reject", *["work"] * 4, "direct"]
    groups = changes.groups()
    assert [(group.before, group.after, group.flows, group.up, group.down) for group in groups] == [
        ("direct", "work", 4, 40, 8000),
        ("direct", "reject", 1, 10, 2000),
        ("work", "direct", 1, 10, 2000),
    ]
    every = changes.groups(every=True)
    assert [(group.before, group.after) for group in every][-1] == ("direct", "direct")
    assert (changes.flows, changes.changed) == (7, 6)
    document = changes.document()
    assert len(document["groups"][0]["hosts"]) == MOST_NAMES
    place = f"{tmp_path / 'tunproxy.toml'}:1"
    assert document["groups"][0]["rules"] == {f"DST-PORT,443,work ({place})": 4}
    assert document["groups"][2]["rules"] == {"the default": 1}


def test_what_cannot_be_compared_is_counted(tmp_path: Path) -> None:
    changes = Changes(replay_by(tmp_path, "PROCESS-NAME,curl,work"))
    for odd in (
        entry(way=None, decided_by="plugin"),
        entry(way=None, decided_by="nobody"),
        entry(facts={"process_asked": False}),
        {**entry(), "target": "nowhere"},
        {"way": "direct"},
    ):
        assert changes.take(odd) is None
    assert changes.document() == {
        "flows": 5,
        "changed": 0,
        "groups": [],
        "unknown": {"process": 1, "a whole entry": 2},
        "not_compared": {"plugin": 1, "nobody": 1},
    }


def test_rules_as_they_are_say_where_flows_went_that_nobody_has_decided(tmp_path: Path) -> None:
    before = replay_by(tmp_path, "DST-PORT,443,REJECT", "PROCESS-NAME,curl,work")
    changes = Changes(replay_by(tmp_path, "DST-PORT,443,work"), before)
    found = changes.take(entry(way=None))
    assert found is not None
    assert (found["from"], found["to"]) == ("reject", "work")
    assert changes.take(entry(way=None, target_port=1, facts={"process_asked": False})) is None
    assert dict(changes.unknown) == {"process": 1}
