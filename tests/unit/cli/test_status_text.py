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


def test_what_the_device_takes_off_us_is_told() -> None:
    assert "offload    csum tso4\n" in describe_status({**QUIET, "offload": "csum tso4"})


def test_sandbox_is_told_with_what_is_missing() -> None:
    text = describe_status({**QUIET, "sandbox": {"landlock": "not in this kernel", "seccomp": "on"}})
    assert "sandbox    landlock off: not in this kernel, seccomp on\n" in text


def test_what_is_captured_and_the_lane_are_told() -> None:
    text = describe_status(
        {
            **QUIET,
            "capture": {"exclude-users": [7, "alice"], "forwarded": True},
            "kernel_direct": [f"10.{number}.0.0/16" for number in range(20)],
            "kernel_direct_prefixes": 1234,
        }
    )
    assert "captured   exclude-users 7, alice; forwarded\n" in text
    assert "lane       kernel-direct: 10.0.0.0/16 10.1.0.0/16 " in text
    assert "10.7.0.0/16 and 1,226 more\n" in text


@pytest.mark.parametrize(
    ("resolved", "leaks", "expected"),
    [
        (
            {"is_answering": False, "state": "not-wanted", "why": "x"},
            {"is_counted": True, "packets": 3},
            "left alone",
        ),
        (
            {"is_answering": True, "state": "taken", "why": ""},
            {"is_counted": True, "packets": 0},
            "answered here; systemd-resolved asks us; nobody asks past us",
        ),
        (
            {"is_answering": True, "state": "refused", "why": "not permitted"},
            {"is_counted": True, "packets": 1200},
            "answered here; systemd-resolved does not ask us (not permitted); 1,200 asked past us",
        ),
        (
            {"is_answering": True, "state": "absent", "why": ""},
            {"is_counted": False, "why": "no nftables", "packets": 0},
            "answered here; leaks are not counted (no nftables)",
        ),
    ],
)
def test_who_answers_names_is_told(resolved: dict[str, Any], leaks: dict[str, Any], expected: str) -> None:
    text = describe_status({**QUIET, "resolved": resolved, "dns_leaks": leaks})
    assert f"\nnames      {expected}\n" in text


def test_worker_that_does_not_answer_leaves_no_hole() -> None:
    lacking = {**QUIET, "flows": {}, "traffic": {}, "counters": {}, "problems": ["the worker has ended"]}
    assert "problems   the worker has ended" in describe_status(lacking)


def test_way_out_and_kill_switch_are_shown_where_there_are_any() -> None:
    way = {"link": "wlan0", "gateway": "192.0.2.254", "source": "192.0.2.1"}
    tunnel = {"link": "wg0", "gateway": "", "source": "2001:db8::1"}
    document = {
        **QUIET,
        "network": {"ipv4": way, "ipv6": tunnel},
        "kill_switch": {"is_on": True, "refused": 1},
    }
    lines = describe_status(document).splitlines()
    assert "way out    wlan0 via 192.0.2.254 and wg0" in lines
    assert "switch     kill switch on, 1 packet refused" in lines
    nowhere = {
        **QUIET,
        "network": {"ipv4": None, "ipv6": None},
        "kill_switch": {"is_on": False, "refused": 0},
    }
    shown = describe_status(nowhere)
    assert "way out    none" in shown
    assert "switch" not in shown


def test_rules_on_trial_are_shown_with_what_they_would_have_decided() -> None:
    rule = {"rule": "DST-PORT,80,REJECT,observe", "place": "home.rules:7", "flows": 1200, "octets": 5_000_000}
    text = describe_status({**QUIET, "observed": [rule, {**rule, "flows": 1, "place": ""}]})
    assert "observed   DST-PORT,80,REJECT,observe: 1,200 flows, 5.0 MB  (home.rules:7)\n" in text
    assert "           DST-PORT,80,REJECT,observe: 1 flow, 5.0 MB\n" in text


def test_what_somebody_has_switched_in_a_dashboard_is_told() -> None:
    policy = {"source": "x.toml", "rules": 4, "rules_off": 1, "upstreams": ["direct"], "default": "DIRECT"}
    mode = {"mode": "global", "way": "work"}
    text = describe_status({**QUIET, "policy": policy, "rule_mode": mode})
    assert "policy     x.toml: 4 rules (1 switched off), 1 upstreams and groups, default DIRECT\n" in text
    assert "mode       global: everything goes through work, and no rule is asked\n" in text
    text = describe_status({**QUIET, "policy": {**policy, "rules_off": 0}, "rule_mode": {"mode": "rule"}})
    assert "mode " not in text
    assert "switched" not in text
