"""The status document as a person reads it."""

from typing import Any

import pytest

from tunproxy.cli.status_text import describe_status, duration, size

QUIET: dict[str, Any] = {
    "version": "tunproxy 1.0",
    "mode": "up",
    "name": "tun0",
    "tun": "tun0",
    "command": "",
    "pid": 7,
    "uptime_seconds": 3.5,
    "flows": {"tcp": 0, "udp": 0},
    "traffic": {"frames_in": 0, "bytes_in": 0, "frames_out": 0, "bytes_out": 0},
    "counters": {"flows_opened": 0},
    "drops": {"no-flow": 0},
    "workers": [],
    "problems": [],
}


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1234, "1.2 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (3_400_000_000, "3.4 GB"),
        (5e18, "5000 PB"),
    ],
)
def test_size_has_few_digits(octets: float, text: str) -> None:
    assert size(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
        (1e7, "115 d 17 h"),
    ],
)
def test_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_quiet_one_is_short() -> None:
    assert describe_status(QUIET).splitlines() == [
        "tun0       up for 3 s, process 7",
        "version    tunproxy 1.0",
        "flows      0 TCP, 0 UDP; 0 opened",
        "traffic    0 B from programs (0 frames), 0 B to programs (0 frames)",
        "dropped    nothing",
        "problems   none",
    ]


def test_busy_one_tells_what_happened() -> None:
    text = describe_status(
        {
            **QUIET,
            "mode": "exec",
            "name": "exec-9",
            "command": "curl",
            "flows": {"tcp": 1200, "tcp_embryos": 3, "tcp_time_wait": 7, "udp": 5, "icmp_echo": 1},
            "traffic": {"frames_in": 12_345, "bytes_in": 5_000_000, "frames_out": 9, "bytes_out": 70},
            "counters": {"flows_opened": 4321, "flows_refused": 2, "flows_evicted": 1, "retransmits": 8},
            "drops": {"no-flow": 3, "truncated": 1000, "land": 0},
            "workers": [
                {"pid": 8, "memory_bytes": 34_000_000, "descriptors": 1100, "descriptor_limit": 20_000}
            ],
            "problems": ["plugin odd is odd", "plugin\x1b[31m red is red"],
        }
    )
    assert text.splitlines() == [
        "exec-9     running 'curl' on tun0 for 3 s, process 7",
        "version    tunproxy 1.0",
        "flows      1,200 TCP (3 being opened, 7 in TIME-WAIT), 5 UDP, 1 ping; 4,321 opened, 2 refused, "
        "1 evicted, 8 segments sent again",
        "traffic    5.0 MB from programs (12,345 frames), 70 B to programs (9 frames)",
        "dropped    1,000  truncated: shorter than their own headers",
        "               3  no-flow: of no connection that we know",
        "workers    process 8: 34.0 MB of memory, 1,100 of 20,000 descriptors",
        "problems   plugin odd is odd",
        "           plugin?[31m red is red",
    ]


def test_worker_that_does_not_answer_leaves_no_hole() -> None:
    lacking = {**QUIET, "flows": {}, "traffic": {}, "counters": {}, "problems": ["the worker has ended"]}
    assert "problems   the worker has ended" in describe_status(lacking)
