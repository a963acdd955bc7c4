"""What the kernel leaves to the program behind a TUN device, which that program has asked for."""

import fcntl

from tests.isolation import isolated, needs_namespaces
from tunproxy.device.tun import open_tun
from tunproxy.host.ethtool import Offload, read_offload

TUNSETOFFLOAD = 0x400454D0
CHECKSUMS, TSO4, TSO6 = 1, 2, 4


@needs_namespaces
def test_offload_is_what_the_program_has_asked_for() -> None:
    def check() -> None:
        opened = open_tun("eth0l")
        for asked, expected in (
            (0, Offload(checksums=False, segments=False)),
            (CHECKSUMS, Offload(checksums=True, segments=False)),
            (CHECKSUMS | TSO4 | TSO6, Offload(checksums=True, segments=True)),
        ):
            fcntl.ioctl(opened.fd, TUNSETOFFLOAD, asked)
            assert read_offload("eth0l") == expected
        opened.close()

    isolated(check)


def test_link_that_there_is_not_has_none() -> None:
    assert read_offload("no-such-link-anywhere") is None
