"""gzip (RFC 1952): one member for a whole flow, packed and stored blocks of DEFLATE (RFC 1951) in it.

What is stored is framed by us, five octets for up to 65535. The library has to make no use of it later, for
it has not seen it: each time, packing begins anew.
"""

import zlib
from typing import Final, final

from mypy_extensions import mypyc_attr

from tunproxy.codecs.packing import Packer, Unpacker, in_blocks, size_of
from tunproxy.flow.codec import MOST_DECODED, CodecError

_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952 §2.3: no name, no time, any system
_BLOCK: Final = 0xFFFF  # octets of the largest stored block (RFC 1951 §3.2.4)
_LAST: Final = b"\x03\x00"  # a block of nothing, and the last
_WITH_HEAD: Final = 16 + zlib.MAX_WBITS
_BARE: Final = -zlib.MAX_WBITS

# our choices
LEVEL: Final = 6
MEMBERS: Final = 64  # that one call unpacks: each costs more than its octets


@final
@mypyc_attr(native_class=True)
class GzipPacker(Packer):
    """Makes one member; level is LEVEL for None."""

    def __init__(self, level: int | None = None) -> None:
        super().__init__(_HEAD)
        self._level: Final = LEVEL if level is None else level
        self._compressor: zlib._Compress | None = None
        self._checksum: int = 0
        self._size: int = 0

    def pack(self, data: bytes | memoryview) -> bytes:
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(self._level, zlib.DEFLATED, _BARE)
            self._compressor = compressor
        self._checksum = zlib.crc32(data, self._checksum)
        self._size += len(data)
        return self._led(compressor.compress(data))

    def flush(self) -> bytes:
        compressor = self._compressor
        return b"" if compressor is None else self._led(compressor.flush(zlib.Z_SYNC_FLUSH))

    def store(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        head = self._lead
        self._lead = b""
        if self._compressor is not None:
            head += self._compressor.flush(zlib.Z_SYNC_FLUSH)  # ends on a whole octet
            self._compressor = None
        words: list[bytes | memoryview] = [head] if len(head) > 0 else []
        for block in in_blocks(pieces, _BLOCK):
            size = int(size_of(block))
            self._size += size
            words.append(b"\x00" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little"))
            for piece in block:
                self._checksum = zlib.crc32(piece, self._checksum)
                words.append(piece)
        return words

    def end(self) -> bytes:
        compressor = self._compressor
        self._compressor = None
        last = _LAST if compressor is None else compressor.flush(zlib.Z_FINISH)
        size = (self._size & 0xFFFF_FFFF).to_bytes(4, "little")
        return self._led(last) + self._checksum.to_bytes(4, "little") + size


@final
@mypyc_attr(native_class=True)
class GzipUnpacker(Unpacker):
    """Reads members, whoever made them."""

    def __init__(self) -> None:
        self._decompressor: zlib._Decompress | None = None  # within a member
        self._rest: bytes = b""  # what has not been looked at
        self._is_full: bool = False  # the decompressor may have more without further input
        self._has_begun: bool = False

    def unpack(self, data: bytes) -> bytes:
        if len(self._rest) > 0:
            data = self._rest + data
            self._rest = b""
        found: list[bytes] = []
        room = MOST_DECODED
        members = 0
        while len(data) > 0 or self._is_full:
            decompressor = self._decompressor
            if decompressor is None:
                if members == MEMBERS or room <= 0:
                    self._rest = data
                    break
                decompressor = zlib.decompressobj(_WITH_HEAD)
                self._decompressor = decompressor
                self._has_begun = True
            try:
                clear = decompressor.decompress(data, room)
            except zlib.error as error:
                why = str(error).rpartition(": ")[2]
                raise CodecError(f"the gzip stream is corrupt: {why}") from error
            if len(clear) > 0:
                found.append(clear)
                room -= len(clear)
            if decompressor.eof:
                members += 1
                data = decompressor.unused_data
                self._decompressor = None
                self._is_full = False
            else:
                self._rest = decompressor.unconsumed_tail
                self._is_full = room <= 0
                break
        return found[0] if len(found) == 1 else b"".join(found)

    def has_more(self) -> bool:
        return self._is_full or len(self._rest) > 0

    def check_end(self) -> None:
        if self._decompressor is not None or not self._has_begun:
            raise CodecError("the gzip stream is cut off")
