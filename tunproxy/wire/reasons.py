"""Why a packet was dropped: one small number per reason, counted by the packet path.

A bad packet is a value, not an exception. ``NAMES[reason]`` is what people see in the counters.
"""

from typing import Final

from mypy_extensions import i64

OK: Final[i64] = 0
TRUNCATED: Final[i64] = 1
BAD_VERSION: Final[i64] = 2
BAD_HEADER_LENGTH: Final[i64] = 3
BAD_LENGTH: Final[i64] = 4
BAD_IP_CHECKSUM: Final[i64] = 5
BAD_CHECKSUM: Final[i64] = 6
BAD_EXTENSION: Final[i64] = 7
SOURCE_ROUTED: Final[i64] = 8
MARTIAN_SOURCE: Final[i64] = 9
MARTIAN_TARGET: Final[i64] = 10
LAND: Final[i64] = 11
FRAGMENT: Final[i64] = 12
FRAGMENT_OVERLAP: Final[i64] = 13
FRAGMENT_LIMIT: Final[i64] = 14
FRAGMENT_TIMEOUT: Final[i64] = 15
UNKNOWN_PROTOCOL: Final[i64] = 16
BAD_OFFSET: Final[i64] = 17
BAD_PORT: Final[i64] = 18
NO_FLOW: Final[i64] = 19
TABLE_FULL: Final[i64] = 20
TTL_ZERO: Final[i64] = 21
MULTICAST: Final[i64] = 22
UNHANDLED_ICMP: Final[i64] = 23
DEVICE_WRITE: Final[i64] = 24
UPSTREAM_FULL: Final[i64] = 25
REJECTED: Final[i64] = 26
ECHO_FORBIDDEN: Final[i64] = 27  # the host lets us have no ping sockets
ICMP_LIMIT: Final[i64] = 28  # an error that we would have sent, beyond the rate

NAMES: Final = (
    "ok",
    "truncated",
    "bad-version",
    "bad-header-length",
    "bad-length",
    "bad-ip-checksum",
    "bad-checksum",
    "bad-extension-header",
    "source-routed",
    "martian-source",
    "martian-target",
    "land",
    "fragment",
    "fragment-overlap",
    "fragment-limit",
    "fragment-timeout",
    "unknown-protocol",
    "bad-offset",
    "bad-port",
    "no-flow",
    "table-full",
    "ttl-zero",
    "multicast",
    "unhandled-icmp",
    "device-write",
    "upstream-full",
    "rejected",
    "echo-forbidden",
    "icmp-limit",
)
