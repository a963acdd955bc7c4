"""What a format of compression is to those who use it: octets packed, or passed as they are, in one stream.

Whatever the mixture, what leaves is one stream of the format, which its standard program unpacks.
"""

from mypy_extensions import i64, mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class Packer:
    """One direction of one flow, outwards. Does no I/O. lead is what goes in front of the first octets."""

    def __init__(self, lead: bytes = b"") -> None:
        self._lead: bytes = lead  # what goes in front of the next octets

    def pack(self, data: bytes | memoryview) -> bytes:
        """Compress octets; return what there is to send, which may be nothing until flush."""
        raise NotImplementedError

    def flush(self) -> bytes:
        """Return what pack has kept back, so that the other end can read all of it."""
        raise NotImplementedError

    def store(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """Pass octets on as they are, in the format's own words; what pack has kept back goes in front.

        They are not copied, if it can be helped. What is packed later makes no use of them, so that its
        length tells nothing of them.
        """
        raise NotImplementedError

    def end(self) -> bytes:
        """Return what pack has kept back and the stream's last words; of an empty stream, all of it."""
        raise NotImplementedError

    def _led(self, words: bytes) -> bytes:
        """Return words with the lead in front, which waits for the next ones where there are none."""
        if len(self._lead) > 0 and len(words) > 0:
            words = self._lead + words
            self._lead = b""
        return words


@mypyc_attr(allow_interpreted_subclasses=True)
class Unpacker:
    """One direction of one flow, inwards. Raises CodecError for what is not in the format."""

    def unpack(self, data: bytes) -> bytes:
        """Return the next octets, MOST_DECODED at most; has_more tells whether unpack(b"") has others."""
        raise NotImplementedError

    def unpack_pieces(self, data: bytes) -> list[bytes | memoryview]:
        """Do what unpack does; return pieces in a row, none of them empty, that may be parts of data."""
        clear = self.unpack(data)
        return [clear] if len(clear) > 0 else []

    def has_more(self) -> bool:
        """Tell whether there may be more without further input."""
        raise NotImplementedError

    def check_end(self) -> None:
        """Raise CodecError where the stream cannot end here."""
        raise NotImplementedError


def in_blocks(pieces: list[bytes | memoryview], most: i64) -> list[list[bytes | memoryview]]:
    """Put pieces into blocks of most octets, and the rest into a last one; there is no empty block."""
    blocks: list[list[bytes | memoryview]] = []
    block: list[bytes | memoryview] = []
    room = most
    for piece in pieces:
        size = i64(len(piece))
        at: i64 = 0
        while at < size:
            part = piece
            if at > 0 or size > room:
                part = memoryview(piece)[at : min(at + room, size)]
            block.append(part)
            at += len(part)
            room -= len(part)
            if room == 0:
                blocks.append(block)
                block = []
                room = most
    if len(block) > 0:
        blocks.append(block)
    return blocks


def size_of(pieces: list[bytes | memoryview]) -> i64:
    """Return how many octets pieces have."""
    size: i64 = 0
    for piece in pieces:
        size += len(piece)
    return size
