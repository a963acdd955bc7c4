"""TCP options: MSS (RFC 9293 §3.7.1), window scale and timestamps (RFC 7323), SACK (RFC 2018)."""

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from tunproxy.wire.bits import put32, u16, u32

if TYPE_CHECKING:
    from tunproxy.wire.tcp import Segment

_END: Final[i64] = 0
_NOP: Final[i64] = 1
_MSS: Final[i64] = 2
_WINDOW_SCALE: Final[i64] = 3
_SACK_PERMITTED: Final[i64] = 4
_SACK: Final[i64] = 5
_TIMESTAMPS: Final[i64] = 8

TIMESTAMPS_LEN: Final[i64] = 12
MAX_SHIFT: Final[i64] = 14  # RFC 7323 §2.3
MAX_SACK_BLOCKS: Final[i64] = 3  # RFC 2018 §3: with timestamps three blocks fit


def clear_options(seg: "Segment") -> None:
    """Mark every option of seg absent."""
    seg.mss = -1
    seg.wnd_shift = -1
    seg.sack_permitted = False
    seg.ts_val = -1
    seg.ts_ecr = -1
    seg.sack_count = 0


def parse_options(frame: bytes, at: i64, end: i64, seg: "Segment") -> None:
    """Fill seg's options from frame[at:end]; a malformed option ends the list, as in the kernel."""
    clear_options(seg)
    while at < end:
        kind = i64(frame[at])
        if kind == _END:
            return
        if kind == _NOP:
            at += 1
            continue
        if at + 1 >= end:
            return
        size = i64(frame[at + 1])
        if size < 2 or at + size > end:
            return
        if kind == _TIMESTAMPS and size == 10:
            seg.ts_val = u32(frame, at + 2)
            seg.ts_ecr = u32(frame, at + 6)
        elif kind == _SACK and size >= 10 and (size - 2) % 8 == 0:
            seg.sack_off = at + 2
            seg.sack_count = (size - 2) // 8
        elif kind == _MSS and size == 4:
            seg.mss = u16(frame, at + 2)
        elif kind == _WINDOW_SCALE and size == 3:
            seg.wnd_shift = min(i64(frame[at + 2]), MAX_SHIFT)
        elif kind == _SACK_PERMITTED and size == 2:
            seg.sack_permitted = True
        at += size


def put_timestamps(out: BytesWriter, ts_val: i64, ts_ecr: i64) -> None:
    """Append the timestamps option in its usual layout of twelve octets (RFC 7323 appendix A)."""
    put32(out, 0x0101_080A)
    put32(out, ts_val)
    put32(out, ts_ecr)


def syn_options_len(wnd_shift: i64, sack_permitted: bool, ts_val: i64) -> i64:
    """Return how many octets put_syn_options appends for the same arguments."""
    size: i64 = 4
    if sack_permitted:
        size += 4
    if ts_val >= 0:
        size += TIMESTAMPS_LEN
    if wnd_shift >= 0:
        size += 4
    return size


def put_syn_options(
    out: BytesWriter, mss: i64, wnd_shift: i64, sack_permitted: bool, ts_val: i64, ts_ecr: i64
) -> None:
    """Append the options of a SYN; wnd_shift and ts_val are -1 where the option is left out."""
    put32(out, (_MSS << 24) | (4 << 16) | mss)
    if sack_permitted:
        put32(out, 0x0101_0402)
    if ts_val >= 0:
        put_timestamps(out, ts_val, ts_ecr)
    if wnd_shift >= 0:
        put32(out, (_NOP << 24) | (_WINDOW_SCALE << 16) | (3 << 8) | wnd_shift)


def put_sack(out: BytesWriter, edges: list[tuple[i64, i64]]) -> None:
    """Append a SACK option with these blocks (left, right), the most recent first (RFC 2018 §4)."""
    put32(out, (_NOP << 24) | (_NOP << 16) | (_SACK << 8) | (2 + 8 * i64(len(edges))))
    for left, right in edges:
        put32(out, left)
        put32(out, right)
