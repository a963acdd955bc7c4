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
MEMORY_FULL: Final[i64] = 29  # flows hold all that they may
WAITING_FULL: Final[i64] = 30  # more than is kept while nobody knows where it goes
BAD_SEAL: Final[i64] = 31  # from a proxy, and not sealed with our key, or spoiled, repeated, too late

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
    "memory-full",
    "waiting-full",
    "bad-seal",
)

# NAMES[reason] in a few words, which follow a number of packets (docs/operations.md says what to do)
MEANINGS: Final = (
    "not dropped",
    "shorter than their own headers",
    "neither IPv4 nor IPv6",
    "with an IP header length that cannot be",
    "with a length that does not fit what came",
    "with a wrong IP header checksum",
    "with a wrong TCP, UDP or ICMP checksum",
    "with IPv6 extension headers that are wrong, or too many",
    "that prescribe their own route",
    "from an address that nobody can have",
    "to an address that nobody can be reached at from here",
    "from an address to itself",
    "fragments that are wrong, repeated, or of a packet given up",
    "fragments that overlap others",
    "incomplete packets, given up to make room",
    "incomplete packets, given up after 30 s",
    "of a protocol that is not carried",
    "with a TCP header length that cannot be",
    "with port 0, where none may be",
    "of no connection that we know",
    "for whose flow there was no room",
    "with no hop left",
    "from or to a group (multicast)",
    "ICMP messages that are for nobody",
    "that the device did not take",
    "that the network outside did not take",
    "refused, by a plugin or by the host",
    "pings, which the host lets us not send",
    "ICMP errors beyond the rate that we send",
    "for new flows, for which there was no memory",
    "datagrams that came before their way was open, too many to wait",
    "datagrams from a proxy that could not be decrypted, or came twice, or too late",
)
