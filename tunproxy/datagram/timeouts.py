"""How long an association stays when nothing passes through it."""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros

_DNS: Final[i64] = 53
_NTP: Final[i64] = 123
_QUIC: Final[i64] = 443
_STUN: Final[i64] = 3478

# our choices; RFC 4787 REQ-5 allows less than its two minutes for well-known ports
_QUESTION: Final[Micros] = 10_000_000  # one question, one answer, and a client that asks again
_QUIC_IDLE: Final[Micros] = 30_000_000  # what most QUIC servers announce


def idle_limit(port: i64, udp_timeout: Micros) -> Micros:
    """Return the idle time after which an association that talks to this target port is closed."""
    if port == _DNS or port == _NTP or port == _STUN:
        return min(_QUESTION, udp_timeout)
    if port == _QUIC:
        return min(_QUIC_IDLE, udp_timeout)
    return udp_timeout
