"""What loss recovery knows of one connection, made when it is first of use.

Most connections lose nothing, and many send a single batch: they pay for none of this. It is made where data
goes out while other data, sent at another time, is under way; or where loss is suspected. Until then all
that is under way was sent at one time, ``Connection.sent_at``.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.tcp.prr import Prr
from tunproxy.tcp.rack import Rack
from tunproxy.tcp.scoreboard import Scoreboard


@final
@mypyc_attr(native_class=True, acyclic=True)
class Recovery:
    """The state of loss recovery; ``recovery``, ``tlp`` and ``retransmit`` change it."""

    def __init__(self, snd_una: i64, snd_nxt: i64) -> None:
        self.is_on: bool = False  # a recovery goes on
        self.point: i64 = snd_nxt  # its end (RFC 6675 §5, RecoveryPoint)
        # where the peer speaks SACK
        self.scoreboard: Final = Scoreboard()
        self.rack: Final = Rack(snd_una)
        self.prr: Final = Prr()
        self.delivered: i64 = 0  # octets that the acknowledgment under work told of
        self.reduced_order: i64 = 0  # the newest run when the window was reduced last
        self.dsacks: i64 = 0  # duplicates of ours that the peer reported
        self.undo_from: i64 = -1  # where what was sent again in this recovery begins
        self.undo_octets: i64 = 0  # of it, not known to have been needless
        self.undo_cwnd: i64 = 0
        self.undo_ssthresh: i64 = 0
        self.tlp_end: i64 = -1  # snd_nxt behind the tail loss probe that is under way
        self.tlp_is_again: bool = False  # it repeated something
        self.tlp_count: i64 = 0  # probes since the peer told of anything new
        # where it does not
        self.dupacks: i64 = 0
        self.limited: i64 = 0  # octets that duplicates let out (RFC 3042)
        self.rtx_nxt: i64 = snd_nxt
        self.lost_until: i64 = snd_nxt
