"""virtio_net_hdr."""

import struct

import pytest
from librt.strings import BytesWriter

from tunproxy.wire.vnet import (
    DATA_VALID,
    GSO_ECN,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    PLAIN,
    VNET_LEN,
    gso_size,
    gso_type,
    is_verified,
    put_gso_ecn,
    put_vnet,
)


def test_header_is_laid_out_as_the_kernel_reads_it() -> None:
    out = BytesWriter()
    put_vnet(out, GSO_UDP_L4, 28, 1200, 20, 6)
    header = out.getvalue()
    assert len(header) == VNET_LEN
    assert struct.unpack("<BBHHHH", header) == (NEEDS_CSUM, GSO_UDP_L4, 28, 1200, 20, 6)
    assert (gso_type(header), gso_size(header)) == (GSO_UDP_L4, 1200)


def test_sizes_use_all_sixteen_bits() -> None:
    out = BytesWriter()
    put_vnet(out, GSO_TCPV4, 65535, 65535, 40, 16)
    assert gso_size(out.getvalue()) == 65535


@pytest.mark.parametrize(
    ("flags", "verified"), [(0, False), (NEEDS_CSUM, True), (DATA_VALID, True), (3, True), (4, False)]
)
def test_is_verified_by_the_device_in_two_ways(flags: int, verified: bool) -> None:
    assert is_verified(bytes([flags]) + bytes(9)) == verified


def test_gso_type_leaves_out_the_ecn_bit() -> None:
    assert gso_type(bytes([1, 0x81]) + bytes(8)) == GSO_TCPV4


@pytest.mark.parametrize("kind", [GSO_TCPV4, GSO_TCPV6])
def test_cwr_is_said_beside_the_kind(kind: int) -> None:
    out = BytesWriter()
    put_vnet(out, kind, 40, 1000, 20, 16)
    put_gso_ecn(out)
    header = out.getvalue()
    assert struct.unpack("<BBHHHH", header) == (NEEDS_CSUM, kind | GSO_ECN, 40, 1000, 20, 16)
    assert gso_type(header) == kind


def test_plain_asks_for_nothing() -> None:
    assert (gso_type(PLAIN), is_verified(PLAIN), len(PLAIN)) == (GSO_NONE, False, VNET_LEN)
