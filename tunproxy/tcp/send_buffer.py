"""What is to be sent or not yet acknowledged: the pieces as they came from upstream, uncopied."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

# our choice: pieces smaller than this are joined, so that a peer that is fed octet by octet costs octets
JOIN_BELOW: Final[i64] = 2048


@final
@mypyc_attr(native_class=True, acyclic=True)
class SendBuffer:
    """A run of octets made of pieces; offset 0 is the first octet that is not yet acknowledged."""

    def __init__(self) -> None:
        self.length: i64 = 0
        self._pieces: list[bytes | memoryview] = []
        self._skip: i64 = 0  # octets of the first piece that are acknowledged
        # where gather stopped last: piece number, and offset of that piece's start
        self._at: i64 = 0
        self._at_offset: i64 = 0

    @property
    def held(self) -> i64:
        """Octets of memory: a piece stays whole until all of it is acknowledged."""
        return self.length + self._skip

    def append(self, data: bytes) -> None:
        """Add octets at the end; data is kept, not copied, unless it is small."""
        size = i64(len(data))
        if size < JOIN_BELOW and len(self._pieces) > 1 and i64(len(self._pieces[-1])) < JOIN_BELOW:
            self._pieces[-1] = bytes(self._pieces[-1]) + data
        else:
            self._pieces.append(data)
        self.length += size

    def append_view(self, view: memoryview) -> None:
        """Add part of something larger at the end; all of that is kept, unless the part is small."""
        if len(view) < JOIN_BELOW:
            self.append(bytes(view))
        else:
            self._pieces.append(view)
            self.length += len(view)

    def acknowledge(self, count: i64) -> None:
        """Forget the first count octets, which must not be more than there are."""
        self.length -= count
        left = self._skip + count
        done: i64 = 0
        pieces = self._pieces
        while done < i64(len(pieces)) and i64(len(pieces[done])) <= left:
            left -= i64(len(pieces[done]))
            done += 1
        if done == 1:
            pieces.pop(0)
        elif done > 1:
            del pieces[:done]
        self._skip = left
        self._at -= done
        self._at_offset -= count
        if self._at <= 0:
            self._at = 0
            self._at_offset = -left

    def gather(self, offset: i64, count: i64) -> list[bytes | memoryview]:
        """Return the pieces of octets offset … offset + count, which must all be there."""
        pieces = self._pieces
        if offset < self._at_offset:
            self._at = 0
            self._at_offset = -self._skip
        at = self._at
        start = self._at_offset
        while start + i64(len(pieces[at])) <= offset:
            start += i64(len(pieces[at]))
            at += 1
        self._at = at
        self._at_offset = start
        found: list[bytes | memoryview] = []
        while count > 0:
            piece = pieces[at]
            size = i64(len(piece))
            begin = offset - start
            end = min(begin + count, size)
            if begin == 0 and end == size:
                found.append(piece)
            elif end - begin <= JOIN_BELOW:
                found.append(piece[begin:end] if isinstance(piece, bytes) else bytes(piece[begin:end]))
            else:
                found.append(memoryview(piece)[begin:end])
            count -= end - begin
            offset += end - begin
            start += size
            at += 1
        return found
