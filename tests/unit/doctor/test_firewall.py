"""Which packets a real firewall stops, over loopback in a network namespace of the test's own."""

import socket
import subprocess

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.host.test_sock_diag import bring_up_loopback
from tunproxy.doctor.firewall import INPUT, OUTPUT, counting
from tunproxy.host import libc

pytestmark = [needs_namespaces, pytest.mark.needs("nft")]

DROPPING = """table inet other {{
 chain stops {{
  type filter hook {hook} priority 0; policy drop;
  {exception} accept
 }}
 chain looks {{ type filter hook {hook} priority 5; }}
}}
"""


def connect(*, is_stopped: bool) -> tuple[str, list[str], list[str]]:
    """Connect over loopback; return where that was stopped, and the chains at output and input."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("", 0))
        client.settimeout(0.2 if is_stopped else 5)
        with counting(client.getsockname()[1]) as checkpoints:
            if is_stopped:
                with pytest.raises(OSError):  # noqa: PT011  # of a time-out, or refused
                    client.connect(server.getsockname())
            else:
                client.connect(server.getsockname())
            return checkpoints.stopped_at(), checkpoints.chains(OUTPUT), checkpoints.chains(INPUT)


@pytest.mark.parametrize(
    ("hook", "exception", "where"),
    [
        ("output", "udp dport 53", OUTPUT),
        ("postrouting", "udp dport 53", OUTPUT),
        ("input", "tcp flags & (syn | ack) == syn", INPUT),
    ],
)
def test_firewall_that_stops_a_connection_is_found(hook: str, exception: str, where: str) -> None:
    def check() -> None:
        bring_up_loopback()
        assert connect(is_stopped=False) == ("", [], [])
        rules = DROPPING.format(hook=hook, exception=exception)
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, timeout=10)
        stopped, *chains = connect(is_stopped=True)
        assert stopped == where
        if hook in (OUTPUT, INPUT):
            named = ["inet other stops (policy drop)", "inet other looks (policy accept)"]
            assert chains[hook == INPUT] == named
        assert (
            "tunproxy" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
        )

    isolated(check)


def test_nobody_is_accused_who_stops_nothing_or_of_whom_nothing_is_known() -> None:
    def check() -> None:
        bring_up_loopback()
        with counting(9) as checkpoints:
            assert checkpoints.stopped_at() == ""
        rules = DROPPING.format(hook="output", exception="udp dport 53")
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, timeout=10)
        libc.capset(effective=0, permitted=0)
        assert connect(is_stopped=True) == ("", [], [])

    isolated(check)
