"""Zstandard (RFC 8878): frames that the library makes, and frames of raw blocks that we write ourselves.

    ┌ mark ──┐┌ frame ────────────────────┐┌ frame ───────────────────────────────┐   ┌ mark ──┐
    │ opened ││ blocks, by the library    ││ header │ raw block │ … │ empty, last │ … │ closed │
    └────────┘└───────────────────────────┘└──────────────────────────────────────┘   └────────┘

A raw block is its octets and three in front (§3.1.1.2): what does not shrink costs next to nothing. A stream
of several frames that is cut off between two would look whole. So we put a mark at either end, which other
programs skip (§3.1.2); what begins with the one must end with the other. Between them, a frame that begins as
ours of raw blocks do has no others: it is read without the library, which would copy it twice.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.codecs.dictionary import LEVEL, Dictionary
from tunproxy.codecs.library import (
    CompressionParameter,
    DecompressionParameter,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdError,
    get_frame_info,
)
from tunproxy.codecs.packing import Packer, Unpacker, in_blocks, size_of
from tunproxy.flow.codec import MOST_DECODED, CodecError

# RFC 8878
_HEAD_LEN: Final = 18  # the longest header of a frame, with the magic number (§3.1.1.1)
_BLOCK: Final = 1 << 17  # the largest block (§3.1.1.2.4)
_RAW_FRAME: Final = b"\x28\xb5\x2f\xfd\x00\x38"  # no flags; a window of 1 << 17
_RAW_LEN: Final = 6
_BLOCK_HEAD_LEN: Final = 3
_LAST: Final = b"\x01\x00\x00"  # a raw block of nothing, and the frame's last
_MARK_LEN: Final = 12
_OPENED: Final = b"\x50\x2a\x4d\x18\x04\x00\x00\x00tun<"  # skippable frames of four octets
_CLOSED: Final = b"\x50\x2a\x4d\x18\x04\x00\x00\x00tun>"

# our choices
WINDOW_LOG: Final = 19  # 512 KiB of what went before: what a flow costs in memory, twice
MOST_WINDOW_LOG: Final = 23  # what others may ask of us: 8 MiB, as §3.1.1.1.2 would have it
FRAMES: Final = 64  # that one call unpacks: each costs more than its octets

_CONTINUE: Final = ZstdCompressor.CONTINUE
_FLUSH_BLOCK: Final = ZstdCompressor.FLUSH_BLOCK
_FLUSH_FRAME: Final = ZstdCompressor.FLUSH_FRAME


@final
@mypyc_attr(native_class=True)
class ZstdPacker(Packer):
    """Makes frames; level is LEVEL for None."""

    def __init__(self, level: int | None = None, dictionary: Dictionary | None = None) -> None:
        super().__init__(_OPENED)
        self._options: Final[dict[int, int]] = {
            CompressionParameter.compression_level: LEVEL if level is None else level,
            CompressionParameter.window_log: WINDOW_LOG,
            CompressionParameter.checksum_flag: 1,
        }
        self._dictionary: Final = dictionary
        self._compressor: ZstdCompressor | None = None  # while its frame is open
        self._is_storing: bool = False

    def pack(self, data: bytes | memoryview) -> bytes:
        compressor = self._compressor
        if compressor is None:
            compressor = self._begin()
        return self._led(compressor.compress(data, _CONTINUE))

    def flush(self) -> bytes:
        compressor = self._compressor
        return b"" if compressor is None else self._led(compressor.flush(_FLUSH_BLOCK))

    def store(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        words: list[bytes | memoryview] = []
        if not self._is_storing:
            if self._compressor is not None:
                words.append(self._led(self._compressor.flush(_FLUSH_FRAME)))
                self._compressor = None
            words.append(self._led(_RAW_FRAME))
            self._is_storing = True
        for block in in_blocks(pieces, _BLOCK):
            words.append((int(size_of(block)) << 3).to_bytes(3, "little"))
            words.extend(block)
        return words

    def end(self) -> bytes:
        if self._is_storing:
            self._is_storing = False
            return _LAST + _CLOSED
        compressor = self._compressor
        if compressor is None:
            compressor = self._begin()
        self._compressor = None
        return self._led(compressor.flush(_FLUSH_FRAME)) + _CLOSED

    def _begin(self) -> ZstdCompressor:
        if self._is_storing:
            self._is_storing = False
            self._lead += _LAST
        known = None if self._dictionary is None else self._dictionary.zstd.as_digested_dict
        compressor = ZstdCompressor(options=self._options, zstd_dict=known)
        self._compressor = compressor
        return compressor


@final
@mypyc_attr(native_class=True)
class ZstdUnpacker(Unpacker):
    """Reads frames, whoever made them; those with a dictionary's number need that dictionary."""

    def __init__(self, dictionary: Dictionary | None = None) -> None:
        self._dictionary: Final = dictionary
        self._options: Final[dict[int, int]] = {DecompressionParameter.window_log_max: MOST_WINDOW_LOG}
        self._decompressor: ZstdDecompressor | None = None  # within a frame
        self._head: bytes = b""  # how the frame began
        self._rest: bytes = b""  # what follows a frame, and has not been looked at
        self._is_full: bool = False  # the decompressor has more
        self._has_begun: bool = False
        self._is_marked: bool = False
        self._is_closed: bool = False
        self._is_raw: bool = False  # within a frame of raw blocks of ours
        self._raw_left: i64 = 0  # octets of the block
        self._stub: bytes = b""  # too little to tell what it is

    def unpack(self, data: bytes) -> bytes:
        found = self.unpack_pieces(data)
        if len(found) == 1:
            one = found[0]
            if isinstance(one, bytes):
                return one
        return b"".join(found)

    def unpack_pieces(self, data: bytes) -> list[bytes | memoryview]:
        if len(self._rest) > 0:
            data = self._rest + data
            self._rest = b""
        if len(self._stub) > 0:
            data = self._stub + data
            self._stub = b""
        found: list[bytes | memoryview] = []
        room = MOST_DECODED
        frames = 0
        while len(data) > 0 or self._is_full:
            if self._is_raw:
                if room <= 0:
                    self._rest = data
                    break
                if len(data) <= room:  # compiled code would copy a slice of all
                    room -= len(data)
                    data = self._take_raw(data, found)
                else:
                    beyond = data[room:]
                    data = self._take_raw(data[:room], found)
                    room = 0
                    data = self._stub + data + beyond
                    self._stub = b""
                continue
            decompressor = self._decompressor
            if decompressor is None:
                if frames == FRAMES or room <= 0:
                    self._rest = data
                    break
                if self._is_marked and _RAW_FRAME.startswith(data[:_RAW_LEN]):
                    if len(data) < _RAW_LEN:
                        self._stub = data
                        break
                    data = data[_RAW_LEN:]
                    self._is_raw = True
                    frames += 1
                    continue
                decompressor = self._begin()
            if len(self._head) < _HEAD_LEN:
                self._head += data[: _HEAD_LEN - len(self._head)]
            try:
                clear = decompressor.decompress(data, room)
                is_over = decompressor.eof
            except ZstdError as error:
                raise CodecError(self._why(str(error))) from error
            if len(clear) > 0:
                found.append(clear)
                room -= len(clear)
            if is_over:
                frames += 1
                data = decompressor.unused_data
                self._decompressor = None
                self._is_full = False
                self._note_mark()
            else:
                self._is_full = not decompressor.needs_input
                break
        return found

    def has_more(self) -> bool:
        return self._is_full or len(self._rest) > 0

    def check_end(self) -> None:
        if self._decompressor is not None or not self._has_begun or self._is_marked != self._is_closed:
            raise CodecError("the zstd stream is cut off")

    def _take_raw(self, data: bytes, found: list[bytes | memoryview]) -> bytes:
        """Take blocks of a frame of raw ones; return what follows the frame, where it ends."""
        view = memoryview(data)
        size = i64(len(data))
        at: i64 = 0
        while at < size:
            if self._raw_left > 0:
                end = min(at + self._raw_left, size)
                found.append(data if end - at == size else view[at:end])
                self._raw_left -= end - at
                at = end
            elif size - at < _BLOCK_HEAD_LEN:
                self._stub = data[at:]
                break
            else:
                head = i64(data[at]) | i64(data[at + 1]) << 8 | i64(data[at + 2]) << 16
                at += _BLOCK_HEAD_LEN
                if head == 1:
                    self._is_raw = False
                    return data[at:]
                if head & 7 or head >> 3 > _BLOCK:
                    raise CodecError("the zstd stream is corrupt: no raw block where one has to be")
                self._raw_left = head >> 3
        return b""

    def _begin(self) -> ZstdDecompressor:
        if self._is_closed:
            raise CodecError("the zstd stream is corrupt: it goes on behind its end")
        known = None if self._dictionary is None else self._dictionary.zstd
        decompressor = ZstdDecompressor(zstd_dict=known, options=self._options)
        self._decompressor = decompressor
        self._head = b""
        self._has_begun = True
        return decompressor

    def _note_mark(self) -> None:
        """See whether the frame that is over was a mark."""
        mark = self._head[:_MARK_LEN]
        if mark == _OPENED and not self._is_marked:
            self._is_marked = True
        elif mark == _CLOSED and self._is_marked:
            self._is_closed = True

    def _why(self, said: str) -> str:
        """Return what is wrong with the stream; of a dictionary, which one is missing."""
        wanted = 0
        try:
            wanted = get_frame_info(self._head).dictionary_id
        except ZstdError:
            pass
        number = 0 if self._dictionary is None else self._dictionary.number
        if wanted != 0 and wanted != number:
            what = f"the one here is {number}" if number else "there is none here (set dictionary)"
            return f"the zstd stream needs the dictionary {wanted}, and {what}"
        return f"the zstd stream is corrupt: {said.rpartition(': ')[2].rstrip('.').lower()}"
