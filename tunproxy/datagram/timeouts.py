"""How long an association stays when nothing passes through it: 10 s, 30 s or what the user wants.

The kind is told by the target's port, as no other sign is sure: RFC 4787 REQ-5 asks for two minutes, and
allows less for well-known ports only.
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros

_DNS: Final[i64] = 53
_NTP: Final[i64] = 123
_QUIC: Final[i64] = 443  # RFC 9114; DTLS of VPNs has the same
_DNS_SECURE: Final[i64] = 853  # over DTLS (RFC 8094) and QUIC (RFC 9250)
_STUN: Final[i64] = 3478  # RFC 8489
_STUN_SECURE: Final[i64] = 5349  # over DTLS
_COAP_SECURE: Final[i64] = 5684  # over DTLS (RFC 7252)

# our choices
_QUESTION: Final[Micros] = 10_000_000  # one question, one answer, and a client that asks again
_SESSION: Final[Micros] = 30_000_000  # QUIC, DTLS: what most QUIC servers announce


def idle_limit(port: i64, udp_timeout: Micros) -> Micros:
    """Return the idle time after which an association that talks to this target port is closed."""
    if port == _DNS or port == _NTP or port == _STUN:
        return min(_QUESTION, udp_timeout)
    if port == _QUIC or port == _DNS_SECURE or port == _STUN_SECURE or port == _COAP_SECURE:
        return min(_SESSION, udp_timeout)
    return udp_timeout
