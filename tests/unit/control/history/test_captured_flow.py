"""One flow of a capture, as its packets tell of it; whole captures are test_captured's."""

import ipaddress

import pytest

from tests.unit.control.history.captures import CLIENT, SERVER
from tunproxy.control.history.capture_file import Packet
from tunproxy.control.history.captured_flow import MAX_HELD, CapturedFlow
from tunproxy.rules.facts import Facts

HTTP = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def flow() -> CapturedFlow:
    """Return a TCP flow whose client says octet 1 next."""
    source, target = (ipaddress.ip_address(each).packed for each in (CLIENT, SERVER))
    return CapturedFlow((6, source, 4000, target, 443), 1000.0, Facts("tcp", source, 4000, target, 443), 1)


def test_name_is_heard_once_what_is_missing_has_come() -> None:
    made = flow()
    made.hear(11, HTTP[10:])
    assert not made.is_heard
    made.hear(1, HTTP[:20])  # they overlap
    assert made.is_heard
    assert made.entry()["name"] == "www.example.com"


def test_octets_far_ahead_are_not_held() -> None:
    made = flow()
    made.hear(1 + MAX_HELD + 1, b"x")
    made.hear(1, HTTP[:10])
    assert made.next == 11
    assert not made.is_heard


@pytest.mark.parametrize(
    ("comment", "process"),
    [
        ("flow 7: tcp 10.0.0.2:4000 to 192.0.2.1:443; process curl (/usr/bin/curl, user 1000); verdict dial",
         {"name": "curl", "path": "/usr/bin/curl"}),
        ("flow 7: tcp 10.0.0.2:4000 to 192.0.2.1:443; not decided yet", {}),
        ("somebody's own words", {}),
    ],
)  # fmt: skip
def test_process_is_the_first_that_a_comment_names(comment: str, process: dict[str, str]) -> None:
    made = flow()
    made.note(Packet(1001.0, b"", (comment,)))
    made.note(Packet(1000.5, b"", ("flow 7: x; process other; y",) if process else ()))
    entry = made.entry()
    assert entry["process"] == process
    assert (entry["began"], entry["ended"]) == (1000.0, 1001.0)
    assert entry["facts"].get("process_name") == process.get("name")
