"""Unpack compressed data, up to a limit: a small file may unpack to more than any machine has."""

import sys
import zlib
from typing import Final

from tunproxy.rulesets.notes import broken

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Our choice: the largest lists in use have 3,000,000 names, which are 100 MB before they are packed.
MAX_UNPACKED: Final = 256 << 20

_MAX_WINDOW_LOG: Final = 27  # the decoder's buffer, 128 MiB; Go's encoders stay below 8 MiB


def unpack_zlib(data: bytes, name: str, limit: int = MAX_UNPACKED) -> bytes:
    """Return what data, RFC 1950, unpacks to. Raise RuleError where it is damaged, cut off or above limit."""
    decoder = zlib.decompressobj()
    try:
        unpacked = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise broken(name, f"cannot unpack: {error} (is the file complete?)") from error
    if len(unpacked) > limit:
        raise broken(name, f"cannot unpack: more than {limit} octets come out")
    if not decoder.eof:
        raise broken(name, "cannot unpack: the data ends too early (is the file complete?)")
    return unpacked


def unpack_zstd(data: bytes, name: str, limit: int = MAX_UNPACKED) -> bytes:
    """Return what data, one or several RFC 8878 frames, unpacks to; errors as in unpack_zlib."""
    parts: list[bytes] = []
    room = limit
    while data:
        decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})
        try:
            part = decoder.decompress(data, room + 1)
        except zstd.ZstdError as error:
            raise broken(name, f"cannot unpack: {error} (is the file complete?)") from error
        if len(part) > room:
            raise broken(name, f"cannot unpack: more than {limit} octets come out")
        if not decoder.eof:
            raise broken(name, "cannot unpack: the data ends too early (is the file complete?)")
        parts.append(part)
        room -= len(part)
        data = decoder.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def pack_zstd(data: bytes) -> bytes:
    """Return data as one RFC 8878 frame."""
    return zstd.compress(data)
