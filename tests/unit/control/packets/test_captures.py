"""The captures of a worker: how they begin, and that nothing is left of them."""

import asyncio
import json
import os
import socket
from typing import Any

import pytest

from tests.unit.control.packets.world import World, flow_frame, records_of, world
from tunproxy.control.packets import captures
from tunproxy.control.packets.captures import Captures, described, whose
from tunproxy.control.packets.keys import ends_of, queue_of_ends
from tunproxy.control.packets.shipping import Counts, Packet
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.device.tun import Offload, TunDevice
from tunproxy.wire.ip import TCP, UDP


def captures_of(made: World) -> Captures:
    dataplane = made.rig.dataplane
    return Captures(dataplane, made.lives, made.lives, made.recent, None, lambda: {"device": "tun7"})


def ask(running: Captures, about: dict[str, Any]) -> tuple[dict[str, Any], socket.socket]:
    """Return a worker's answer to a question for a capture, and our end of its socket."""
    ours, theirs = socket.socketpair()
    letter = os.memfd_create("question")
    os.write(letter, json.dumps(about).encode())
    os.lseek(letter, 0, os.SEEK_SET)
    kept = os.dup(letter)
    with theirs:
        asyncio.run(running.begin(letter, theirs.detach()))  # type: ignore[arg-type]
    with os.fdopen(kept, "rb") as file:
        file.seek(0)
        return json.loads(file.read()), ours


def test_capture_begins_and_device_is_left_alone_after_it() -> None:
    with world() as made:
        running = captures_of(made)
        told, ours = ask(running, {"filter": "port:80", "snaplen": 100})
        assert told == {"device": "tun7"}
        made.begin(80)
        made.rig.dataplane.sink.write(flow_frame(80, is_up=False))
        running.close()
        assert [type(each) for each in records_of(ours)] == [Packet, Counts]
        made.rig.dataplane.sink.write(flow_frame(80, is_up=False))
        assert records_of(ours) == []
        assert made.rig.dataplane._tap is None
        ours.close()


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"filter": "hots:x"}, "no key 'hots'"),
        ({"snaplen": 0}, "cannot keep 0 octets"),
        ({"snaplen": "all"}, "cannot keep 'all' octets"),
        ({"snaplen": 1 << 30}, "no number from 1 to 262144"),
    ],
)
def test_what_makes_no_sense_is_refused(about: dict[str, Any], says: str) -> None:
    with world() as made:
        told, ours = ask(captures_of(made), about)
        assert says in told["error"]
        assert ours.recv(10) == b"", "nobody holds the other end"
        ours.close()


def test_too_many_captures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "MOST", 2)
    with world() as made:
        running = captures_of(made)
        asked = [ask(running, {}) for _ in range(3)]
        assert ["error" in told for told, _ in asked] == [False, False, True]
        asked[0][1].close()
        made.rig.dataplane.poll(0)
        told, ours = ask(running, {})
        assert "error" not in told
        running.close()
        for sock in (ours, *(sock for _, sock in asked)):
            sock.close()


def settings(number: int, workers: int, *, is_steered: bool) -> WorkerSettings:
    device = TunDevice(-1, "tun7", Offload(csum=True))
    return WorkerSettings(device, number=number, workers=workers, is_steered=is_steered)


def test_one_worker_answers_what_is_of_no_flow() -> None:
    key = bytes([10, 0, 0, 2, 192, 0, 2, 1, 1, 1, 0, 53])
    tcp, udp = ends_of(int(TCP), key), ends_of(int(UDP), key)
    assert whose(settings(0, 1, is_steered=False))(udp)
    for is_steered in (True, False):
        having = [number for number in range(3) if whose(settings(number, 3, is_steered=is_steered))(udp)]
        assert having == [queue_of_ends(udp, 3)]
    assert all(whose(settings(number, 3, is_steered=False))(tcp) for number in range(3))
    assert sum(whose(settings(number, 3, is_steered=True))(tcp) for number in range(3)) == 1


def test_worker_is_described() -> None:
    found = described(settings(0, 1, is_steered=False), lambda: {"generation": 3})()
    assert found == {"device": "tun7", "mtu": 1500, "offload": "csum", "policy": {"generation": 3}}
