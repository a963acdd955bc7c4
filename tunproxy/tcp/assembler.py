"""Payload that arrived ahead of a gap, kept until the gap is filled (RFC 9293 §3.10.7.4, RFC 2018 §3)."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.tcp.seq import seq_add, seq_le, seq_lt, seq_sub

# our choice: more pieces than this means a hostile sender or a hopeless path; the rest is sent again
MAX_PIECES: Final = 512
MAX_RECENT: Final = 8  # more than fit into a header
JOIN_UP_TO: Final[i64] = 16384  # a long run of small segments costs octets, not objects
PIECE_COST: Final[i64] = 160  # of the objects around a piece


@final
@mypyc_attr(native_class=True, acyclic=True)
class Assembler:
    """Pieces sorted by sequence number, without overlap. The first copy of an octet wins."""

    def __init__(self) -> None:
        self.held: i64 = 0  # octets
        self._pieces: list[tuple[i64, bytes]] = []
        self._recent: list[i64] = []  # a sequence number in each run that SACK blocks name, newest first

    @property
    def footprint(self) -> i64:
        """Octets of memory, with the objects that hold them."""
        return self.held + PIECE_COST * i64(len(self._pieces))

    def insert(self, seq: i64, data: bytes) -> bool:
        """Keep what is new of data, which begins at seq; return whether anything was new and kept."""
        pieces = self._pieces
        self._recent.insert(0, seq)
        del self._recent[MAX_RECENT:]
        at = len(pieces)
        while at > 0 and seq_lt(seq, pieces[at - 1][0]):
            at -= 1
        if at > 0:
            before_seq, before = pieces[at - 1]
            overlap = seq_sub(seq_add(before_seq, len(before)), seq)
            if overlap > 0:
                if overlap >= len(data):
                    return False
                data = data[overlap:]
                seq = seq_add(seq, overlap)
        kept = False
        while len(data) > 0:
            size = i64(len(data))
            following: i64 = -1
            if at < len(pieces):
                following = pieces[at][0]
                size = min(size, seq_sub(following, seq))
            if size > 0:
                if at > 0 and self._joins(at - 1, seq, size):
                    pieces[at - 1] = (pieces[at - 1][0], pieces[at - 1][1] + data[:size])
                elif len(pieces) >= MAX_PIECES:
                    return kept
                else:
                    pieces.insert(at, (seq, data[:size]))
                    at += 1
                self.held += size
                kept = True
            if following < 0:
                break
            skip = size + i64(len(pieces[at][1]))
            if skip >= len(data):
                break
            data = data[skip:]
            seq = seq_add(seq, skip)
            at += 1
        return kept

    def _joins(self, before: i64, seq: i64, size: i64) -> bool:
        """Tell whether octets that begin at seq are to become part of the piece before them."""
        left, piece = self._pieces[before]
        return i64(len(piece)) + size <= JOIN_UP_TO and seq_add(left, len(piece)) == seq

    def take(self, rcv_nxt: i64) -> bytes | None:
        """Remove and return the octets that begin at rcv_nxt, None when there are none."""
        while len(self._pieces) > 0 and seq_le(self._pieces[0][0], rcv_nxt):
            seq, data = self._pieces.pop(0)
            self.held -= len(data)
            skip = seq_sub(rcv_nxt, seq)
            if skip < len(data):
                return data[skip:] if skip > 0 else data
        return None

    def blocks(self, most: i64) -> list[tuple[i64, i64]]:
        """Return runs of held octets as (left, right), `most` of them at most (RFC 2018 §4).

        The run of the piece that came last leads, also where it was a duplicate; those follow that were
        reported before it, so that the loss of an acknowledgment does not hide them.
        """
        runs: list[tuple[i64, i64]] = []
        for seq, data in self._pieces:
            right = seq_add(seq, len(data))
            if len(runs) > 0 and runs[-1][1] == seq:
                runs[-1] = (runs[-1][0], right)
            else:
                runs.append((seq, right))
        found: list[tuple[i64, i64]] = []
        for seq in self._recent:
            for run in runs:
                if seq_le(run[0], seq) and seq_lt(seq, run[1]):
                    if run not in found:
                        found.append(run)
                    break
        for run in runs:
            if len(found) >= most:
                break
            if run not in found:
                found.append(run)
        self._recent = [left for left, _ in found]
        return found[:most]
