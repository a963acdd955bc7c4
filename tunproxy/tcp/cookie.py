"""SYN cookies: a SYN is answered and forgotten; the ACK brings back what has to be known (RFC 4987 §3.6).

our initial number                           our timestamp, where the peer sends timestamps
 31    29 28                             0    31                  6    5     4    3         0
+--------+--------------------------------+  +---------------------+-----+------+-----------+
|  MSS   |  keyed hash of everything      |  |  clock              | ECN | SACK |   shift   |
+--------+--------------------------------+  +---------------------+-----+------+-----------+

The hash covers addresses, ports, the peer's initial number, the MSS, the options and a slow counter, so that
a cookie serves one connection and one or two periods of the counter. Who has not seen it guesses it once in
2**28 segments. Without timestamps there is no room for window scale, SACK and ECN: they are not agreed on
then. The hash leaves ECN out: a SYN that is sent again may offer it no more, and has to get the same number.
A cookie is spent when it is brought back: a late copy of the client's first data must not be delivered again,
over another connection, when the first one has ended meanwhile.
"""

import hashlib
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.tcp.connection import DEFAULT_MSS, DEFAULT_MSS_V6
from tunproxy.tcp.ecn import offers_ecn
from tunproxy.wire.bits import u32
from tunproxy.wire.tcp import CWR, ECE, SYN, Segment

_blake2s: Final = hashlib.blake2s

_HASH_BITS: Final[i64] = 29
_HASH_MASK: Final[i64] = (1 << 29) - 1
_OPTION_BITS: Final[i64] = 6
_OPTION_MASK: Final[i64] = (1 << 6) - 1
_ECN: Final[i64] = 0x20
_SACK: Final[i64] = 0x10
_NO_SHIFT: Final[i64] = 0x0F  # RFC 7323 §2.3 ends at 14
_IPV4_KEY_LEN: Final = 12  # two addresses and two ports
_NO_TIMESTAMPS: Final[i64] = 0x40  # for the hash only: there is nothing to carry it

# our choices
PERIOD: Final[i64] = 64_000_000  # of the slow counter, in µs
LIFETIME: Final[i64] = 2 * PERIOD  # no cookie is older when it is taken
MAX_SPENT: Final = 65536  # remembered in a period, a hundred octets each; then the oldest are forgotten
# What a peer announces is rounded down: whatever it is, the default, IPv6's least, tunnels, Ethernet with
# either family, jumbo frames, and the largest devices.
MSS_TABLE: Final = (64, 536, 1220, 1360, 1440, 1460, 8940, 65455)


def options_of(syn: Segment) -> i64:
    """Return the options of a SYN as a cookie carries them."""
    if syn.ts_val < 0:
        return _NO_TIMESTAMPS
    shift = syn.wnd_shift if syn.wnd_shift >= 0 else _NO_SHIFT
    if offers_ecn(syn):
        shift |= _ECN
    return shift | _SACK if syn.sack_permitted else shift


def marked(timestamp: i64, options: i64) -> i64:
    """Return the latest timestamp, not after this one, that carries options in its lowest bits.

    Later timestamps of ours follow it without a step back, which the peer would drop (RFC 7323 §5).
    """
    found = (timestamp & ~_OPTION_MASK) | (options & _OPTION_MASK)
    if found > timestamp:
        found -= 1 << _OPTION_BITS
    return found & 0xFFFF_FFFF


@final
@mypyc_attr(native_class=True)
class Cookies:
    """Makes and checks cookies with a secret of 16 random octets. key is the run of addresses and ports."""

    def __init__(self, secret: bytes) -> None:
        self._secret: Final = secret
        self._period: i64 = 0  # in which spent was begun
        self._spent: set[bytes] = set()
        self._spent_before: set[bytes] = set()

    def number(self, key: bytes, syn: Segment, now: Micros) -> i64:
        """Return the initial number to answer this SYN with."""
        mss = syn.mss
        if mss <= 0:
            mss = DEFAULT_MSS_V6 if len(key) > _IPV4_KEY_LEN else DEFAULT_MSS
        index = _mss_index(mss)
        return (index << _HASH_BITS) | self._hash(key, syn.seq, now // PERIOD, index, options_of(syn))

    def recall(self, key: bytes, seg: Segment, now: Micros) -> Segment | None:
        """Return the SYN as far as it matters, where seg brings back a cookie, the first time; else None.

        seg is the first segment behind the SYN; its window and timestamp stand in for the SYN's.
        """
        number = (seg.ack - 1) & 0xFFFF_FFFF
        irs = (seg.seq - 1) & 0xFFFF_FFFF
        index = number >> _HASH_BITS
        options = seg.ts_ecr & _OPTION_MASK if seg.ts_val >= 0 else _NO_TIMESTAMPS
        count = now // PERIOD
        wanted = number & _HASH_MASK
        if (
            self._hash(key, irs, count, index, options) != wanted
            and self._hash(key, irs, count - 1, index, options) != wanted
        ):
            return None
        if not self._spend(key + b"%d" % int(number), count):
            return None
        syn = Segment()
        syn.source_port = seg.source_port
        syn.target_port = seg.target_port
        syn.seq = irs
        syn.flags = SYN
        syn.wnd = seg.wnd
        syn.mss = MSS_TABLE[index]
        if options != _NO_TIMESTAMPS:
            syn.ts_val = seg.ts_val
            syn.sack_permitted = options & _SACK != 0
            if options & _ECN:
                syn.flags |= ECE | CWR
            shift = options & _NO_SHIFT
            syn.wnd_shift = shift if shift != _NO_SHIFT else -1
        return syn

    def _spend(self, cookie: bytes, period: i64) -> bool:
        """Note that the cookie came back; return whether it is the first time."""
        if cookie in self._spent or cookie in self._spent_before:
            return False
        if period != self._period or len(self._spent) >= MAX_SPENT:
            self._spent_before = self._spent
            self._spent = set()
            self._period = period
        self._spent.add(cookie)
        return True

    def _hash(self, key: bytes, irs: i64, count: i64, index: i64, options: i64) -> i64:
        """Return 29 bits of a keyed BLAKE2s (RFC 7693 §2.9)."""
        text = key + b"%d,%d,%d,%d" % (int(irs), int(count), int(index), int(options & ~_ECN))
        return u32(_blake2s(text, key=self._secret, digest_size=4).digest(), 0) & _HASH_MASK


def _mss_index(mss: i64) -> i64:
    """Return the place in MSS_TABLE of the largest that is no larger than mss."""
    index: i64 = len(MSS_TABLE) - 1
    while index > 0 and i64(MSS_TABLE[index]) > mss:
        index -= 1
    return index
