"""What is left to the program behind a device, and what arrived with a wrong checksum."""

from pathlib import Path

import pytest

from tests.unit.doctor.looks import device
from tunproxy.doctor.finding import State
from tunproxy.doctor.offloads import checksum_errors, judge_checksums, judge_offload
from tunproxy.host.ethtool import Offload

SNMP = (
    "Ip: Forwarding InHdrErrors\nIp: 1 7\nTcp: RtoMin InCsumErrors\nTcp: 200 3\nUdp: InCsumErrors\nUdp: 0\n"
)
NETSTAT = "TcpExt: SyncookiesSent\nTcpExt: 1\nIpExt: InNoRoutes InCsumErrors\nIpExt: 4 2\n"
SNMP6 = "Ip6InReceives  \t12\nUdp6InCsumErrors                \t5\n"


@pytest.mark.parametrize(
    ("header", "offload", "state", "says"),
    [
        (
            True,
            Offload(True, True),
            State.FINE,
            "its program completes checksums, and takes packets up to 64 KB",
        ),
        (
            True,
            Offload(False, False),
            State.FINE,
            "gets them complete, and takes packets no larger than the MTU",
        ),
        (False, Offload(True, True), State.FINE, "the kernel completes checksums"),
        (True, None, State.UNKNOWN, "does not say"),
    ],
)
def test_offload_says_what_the_program_has_to_do(
    header: bool, offload: Offload | None, state: State, says: str
) -> None:
    found = judge_offload(device(has_vnet_header=header), offload)
    assert found.state is state
    assert says in found.says


def test_wrong_checksums_are_counted_by_protocol(tmp_path: Path) -> None:
    files = tuple(tmp_path / name for name in ("snmp", "netstat", "snmp6", "missing"))
    for path, text in zip(files, (SNMP, NETSTAT, SNMP6), strict=False):
        path.write_text(text)
    assert checksum_errors(files) == {"Tcp": 3, "Udp": 0, "Ip": 2, "Udp6": 5}
    files[0].write_text("Tcp: InCsumErrors\nTcp: x\nTcp: InCsumErrors\n")
    assert checksum_errors(files[:1]) == {}


def test_wrong_checksums_are_told_with_what_mends_them() -> None:
    assert judge_checksums({"Tcp": 0}).state is State.FINE
    found = judge_checksums({"Tcp": 3, "Udp": 0, "Ip": 2})
    assert found.state is State.ODD
    assert found.says.startswith("5 packets")
    assert found.evidence == ("InCsumErrors in /proc/net: Tcp 3, Ip 2",)
    assert "VIRTIO_NET_HDR_F_NEEDS_CSUM" in found.mend
