"""Which SACK blocks an acknowledgment bears: what arrived twice (RFC 2883), then what is kept (RFC 2018).

A duplicate is noted by ``receive`` right before it acknowledges it, and reported in that acknowledgment only.
"""

from mypy_extensions import i64

from tunproxy.tcp.connection import Connection
from tunproxy.tcp.seq import seq_add, seq_le, seq_lt, seq_sub
from tunproxy.wire.tcp import Segment
from tunproxy.wire.tcp_options import MAX_SACK_BLOCKS


def note_duplicate(conn: Connection, seg: Segment) -> None:
    """Note that all the octets of seg had arrived before; the acknowledgment must follow at once."""
    if conn.sack_on and seg.length > 0:
        conn.dsack_left = seg.seq
        conn.dsack_right = seq_add(seg.seq, seg.length)


def sack_blocks(conn: Connection) -> list[tuple[i64, i64]]:
    """Return the blocks (left, right) for the acknowledgment that is about to be sent.

    A duplicate above RCV.NXT is reported only together with the block that it is part of (RFC 2883 §4.1.2):
    alone it would be taken for news.
    """
    left = conn.dsack_left
    assembler = conn.assembler
    is_holding = assembler is not None and assembler.held > 0
    if left < 0:
        return assembler.blocks(MAX_SACK_BLOCKS) if assembler is not None and is_holding else []
    conn.dsack_left = -1
    right = conn.dsack_right
    if seq_le(right, conn.rcv_nxt):
        held = assembler.blocks(MAX_SACK_BLOCKS - 1) if assembler is not None and is_holding else []
        return [(left, right), *held]
    if assembler is None or not is_holding:
        return []
    held = assembler.blocks(MAX_SACK_BLOCKS)
    first, end = held[0]
    if seq_le(first, left) and seq_le(right, end):
        return [(left, right), *held[: MAX_SACK_BLOCKS - 1]]
    return held


def is_old(conn: Connection, seg: Segment) -> bool:
    """Tell whether all octets of seg lie before RCV.NXT."""
    return seq_lt(seg.seq, conn.rcv_nxt) and seq_sub(conn.rcv_nxt, seg.seq) >= seg.length
