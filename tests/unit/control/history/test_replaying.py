"""A replay from beginning to end, over files."""

import time
from pathlib import Path

import pytest

from tests.unit.control.history.captures import pcap, syn, tcp, udp
from tests.unit.control.history.test_captured import HTTP
from tests.unit.control.history.world import entry, text_of
from tests.unit.control.policies import plugins_for, written
from tunproxy.control.history import replaying
from tunproxy.control.history.query import Filter
from tunproxy.control.history.replaying import Judged, replay_capture, replay_ring
from tunproxy.control.history.store import Store
from tunproxy.errors import ConfigError
from tunproxy.progress import Progress


@pytest.fixture(autouse=True)
def tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "load_plugins", plugins_for)


def progress() -> Progress:
    return Progress("", None)


def rules(folder: Path, *lines: str) -> str:
    path = folder / "new.rules"
    path.write_text("\n".join(lines))
    return str(path)


def test_ring_is_asked_since_a_moment(tmp_path: Path) -> None:
    now = time.time()
    store = Store(tmp_path / "h", size=1 << 20, age=3600)
    store.add([entry(ended=now - 100), entry(ended=now, target_port=80)], missed=3, why="too fast")
    store.close()
    after = Judged.by(rules(tmp_path, "MATCH,REJECT"), str(written(tmp_path, text_of())))
    outcome = replay_ring(after, store.path, Filter(since=now - 50), progress(), lists=True)
    assert (outcome.changes.flows, outcome.changes.changed) == (1, 1)
    assert [(each["id"], each["target_port"], each["to"]) for each in outcome.changed] == [(2, 80, "reject")]
    assert outcome.notes == ["3 flows were not recorded: too fast"]
    assert replay_ring(after, store.path, Filter(), progress()).changed == []


def test_capture_is_asked_by_old_and_new_rules(tmp_path: Path) -> None:
    config = str(written(tmp_path, text_of("DOMAIN,www.example.com,work")))
    capture = pcap(tmp_path / "x.pcap", [syn(), tcp(HTTP), syn(dport=80, sport=1), udp(b"q" * 20, dport=53)])
    new = rules(tmp_path, "DST-PORT,80,REJECT-DROP", "DOMAIN-SUFFIX,example.com,DIRECT")
    outcome = replay_capture(Judged.by(new, config), Judged.by("", config), capture, progress(), lists=True)
    assert [(each["name"], each["from"], each["to"]) for each in outcome.changed] == [
        ("www.example.com", "work", "direct")
    ]
    # Nobody knows whether the client of port 80 would have named www.example.com; port 53 is answered by us.
    assert dict(outcome.changes.unknown) == {"name": 1}
    assert outcome.changes.flows == 2


def test_capture_that_is_cut_off_or_empty_is_said(tmp_path: Path) -> None:
    judged = Judged.by(str(written(tmp_path, text_of())))
    path = pcap(tmp_path / "x.pcap", [syn()])
    path.write_bytes(path.read_bytes()[:-1])
    notes = replay_capture(judged, judged, path, progress()).notes
    assert notes == [f"{path} is cut off after 0 packets", f"{path} has no IP packet"]


def test_rules_that_are_broken_are_told_with_their_place(tmp_path: Path) -> None:
    broken = rules(tmp_path, "MATCH,REJECT", "DOMIAN,a.example,REJECT")
    with pytest.raises(ConfigError, match=r"new\.rules:2:1: unknown rule type 'DOMIAN' \(did you mean"):
        Judged.by(broken, str(written(tmp_path, text_of())))
    with pytest.raises(ConfigError, match="cannot read"):
        Judged.by(str(tmp_path / "none.rules"), str(written(tmp_path, text_of())))
