"""What is known of a flow, and what may be decided about it."""

import socket

import pytest

from tunproxy.flow.verdict import CONVERSE, DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict


def flow(client: str, target: str, protocol: str = "tcp") -> FlowInfo:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    return FlowInfo(protocol, socket.inet_pton(family, client), 40000, socket.inet_pton(family, target), 443)


@pytest.mark.parametrize(
    ("client", "target", "shown"),
    [
        ("10.0.0.2", "192.0.2.7", "tcp 10.0.0.2:40000 -> 192.0.2.7:443"),
        ("fd00::2", "2001:db8::7", "tcp [fd00::2]:40000 -> [2001:db8::7]:443"),
    ],
)
def test_flow_info_is_shown_with_both_ends(client: str, target: str, shown: str) -> None:
    assert str(flow(client, target)) == shown


@pytest.mark.parametrize(
    ("target", "family"), [("192.0.2.7", socket.AF_INET), ("2001:db8::7", socket.AF_INET6)]
)
def test_flow_info_family_follows_the_target(target: str, family: int) -> None:
    assert flow(target, target).family == family


def test_flow_info_keeps_what_it_was_given() -> None:
    info = flow("10.0.0.2", "192.0.2.7", "udp")
    assert (info.protocol, info.client_port, info.target_port) == ("udp", 40000, 443)
    assert (info.client, info.target) == (bytes([10, 0, 0, 2]), bytes([192, 0, 2, 7]))


def test_verdict_defaults_to_the_flows_own_target() -> None:
    verdict = Verdict(DIAL, "direct")
    assert (verdict.address, verdict.port, verdict.opener, verdict.why) == ("", 0, None, "")


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (DIAL, "work (dial)"),
        (OPEN, "work (open)"),
        (REJECT, "work (reject)"),
        (DROP, "work (drop)"),
        (CONVERSE, "work (converse)"),
    ],
)
def test_verdict_is_shown_with_its_kind(kind: int, shown: str) -> None:
    assert str(Verdict(kind, "work")) == shown


def test_verdict_is_shown_with_its_reason() -> None:
    assert str(Verdict(REJECT, "no-http", why="plain HTTP")) == "no-http (reject, plain HTTP)"


@pytest.mark.parametrize("change", ["kind", "upstream", "address", "port"])
@pytest.mark.compiled_only("Final attributes are read-only at run time only when compiled")
def test_verdict_cannot_be_changed(change: str) -> None:
    verdict = Verdict(DIAL, "direct")
    with pytest.raises(AttributeError):
        setattr(verdict, change, getattr(verdict, change))
