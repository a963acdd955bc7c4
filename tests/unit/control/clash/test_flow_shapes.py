"""Ids of flows, chains and lines."""

import uuid
from typing import Any

import pytest

from tunproxy.control.clash.flow_shapes import chain_of, connection_of, flow_of, id_of, log_line

ROW: dict[str, Any] = {
    "number": 7, "state": "open", "protocol": "tcp", "client": "2001:db8::2", "client_port": 4000,
    "target": "198.18.0.9", "target_port": 443, "name": "a.example", "name_from": "fake-ip",
    "upstream": "direct",
    "chain": "work \u2192 direct", "why": "rule", "octets_up": 1, "octets_down": 2, "reason": None,
    "condition": ["DOMAIN-SUFFIX", "example", [], []], "is_chosen": False, "began": 0.0, "is_fake": True,
    "sniffed": False, "process": "curl", "process_path": "/usr/bin/curl", "uid": 1000,
}  # fmt: skip


@pytest.mark.parametrize("number", [1, 77, (1 << 62) - 1])
@pytest.mark.parametrize("run", ["000000000000", "0123456789ab", "ffffffffffff"])
def test_id_is_a_uuid_and_leads_back(run: str, number: int) -> None:
    found = id_of(run, number)
    assert uuid.UUID(found).variant == uuid.RFC_4122
    assert uuid.UUID(found).version == 8
    assert flow_of(found) == (run, number)


@pytest.mark.parametrize("wrong", ["", "nope", "a252f585-f35c-4d2d-8f25-2f82390b74e1", "../x", "1" * 40])
def test_other_ids_are_nobody_s(wrong: str) -> None:
    assert flow_of(wrong) is None


def test_fake_address_is_not_shown_as_the_target() -> None:
    meta = connection_of("0" * 12, ROW)["metadata"]
    assert (meta["destinationIP"], meta["host"], meta["dnsMode"]) == ("", "a.example", "fake-ip")
    assert (meta["process"], meta["processPath"], meta["uid"]) == ("curl", "/usr/bin/curl", 1000)
    assert (meta["sourcePort"], meta["destinationPort"]) == ("4000", "443")
    other = connection_of(
        "0" * 12, {**ROW, "is_fake": False, "name_from": "sniffed", "sniffed": True, "uid": -1}
    )
    assert other["metadata"]["sniffHost"] == "a.example"
    assert (other["metadata"]["destinationIP"], other["metadata"]["uid"]) == ("198.18.0.9", 0)


def test_chain_has_the_node_first() -> None:
    assert chain_of("top \u2192 group \u2192 node") == ["node", "group", "top"]
    assert chain_of("drop") == ["REJECT-DROP"]


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({}, "info", "[TCP] [2001:db8::2]:4000(curl) --> a.example:443 match DomainSuffix(example) "
         "using work[DIRECT]"),
        ({"condition": None, "chain": "direct", "process": ""}, "info",
         "[TCP] [2001:db8::2]:4000 --> a.example:443 match Match using DIRECT"),
        ({"condition": None, "is_chosen": True, "why": "plugin x", "reason": "lost its target: x"}, "warning",
         "[TCP] [2001:db8::2]:4000(curl) --> a.example:443 by plugin x using work[DIRECT] "
         "error: lost its target: x"),
    ],
)  # fmt: skip
def test_line_reads_as_clash_s(changes: dict[str, Any], level: str, text: str) -> None:
    assert log_line({**ROW, **changes}) == (level, text)
