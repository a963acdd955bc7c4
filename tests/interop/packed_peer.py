"""The other end of a compressed flow, by the libraries of the formats and none of our code.

It speaks SOCKS 5, through the codec as everything, and is the target as well: the port that it is asked for
says what it does.
"""

import hashlib
import socket
import zlib
from typing import Any, Protocol

from tests.unit.codecs.streams import json_lines

try:
    from compression import zstd  # Python 3.14
except ImportError:
    from backports import zstd

ECHO, DIGEST, SOURCE, WIRE, CORRUPT, CUT, BOMB, OTHER = range(7000, 7008)
SOURCE_SIZE = 4 << 20


class End(Protocol):
    """A stream's compression."""

    def decode(self, data: bytes) -> bytes:
        """Return what data is in the clear."""

    def encode(self, data: bytes) -> bytes:
        """Return data, compressed and flushed."""

    def end(self) -> bytes:
        """Return the end of the stream."""

    def is_over(self) -> bool:
        """Tell whether what was decoded may end here."""


class ZstdEnd:
    """Frames, one after the other."""

    def __init__(self) -> None:
        self._decompressor: Any = None
        self._compressor = zstd.ZstdCompressor()
        self._has_begun = False

    def decode(self, data: bytes) -> bytes:
        found = b""
        while data:
            self._has_begun = True
            self._decompressor = self._decompressor or zstd.ZstdDecompressor()
            found += self._decompressor.decompress(data)
            data = b""
            if self._decompressor.eof:
                data = self._decompressor.unused_data
                self._decompressor = None
        return found

    def encode(self, data: bytes) -> bytes:
        return self._compressor.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._compressor.flush()

    def is_over(self) -> bool:
        return self._has_begun and self._decompressor is None


class GzipEnd:
    """One member."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(31)
        self._compressor = zlib.compressobj(wbits=31)

    def decode(self, data: bytes) -> bytes:
        found = self._decompressor.decompress(data)
        assert not self._decompressor.unused_data
        return found

    def encode(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._compressor.flush()

    def is_over(self) -> bool:
        return self._decompressor.eof


ENDS: dict[str, type[ZstdEnd] | type[GzipEnd]] = {"zstd": ZstdEnd, "gzip": GzipEnd}


class Peer:
    """One connection."""

    def __init__(self, sock: socket.socket, end: End) -> None:
        self.sock = sock
        self.end = end
        self.kept = b""
        self.wire = 0  # octets that arrived

    def serve(self) -> None:
        """Answer the greeting and the request of SOCKS 5 (RFC 1928), and do what the port says."""
        greeting = self.exactly(2)
        self.exactly(greeting[1])
        self.send(b"\x05\x00")
        kind = self.exactly(4)[3]
        self.exactly({1: 4, 4: 16}[kind] if kind != 3 else self.exactly(1)[0])
        port = int.from_bytes(self.exactly(2), "big")
        self.send(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        self.wire = 0
        if port == ECHO or port == OTHER:
            while data := self.read():
                self.send(data)
        elif port == DIGEST or port == WIRE:
            hasher, size = hashlib.blake2b(), 0
            while data := self.read():
                hasher.update(data)
                size += len(data)
            self.send((hasher.hexdigest() if port == DIGEST else f"{size} {self.wire}").encode())
        elif port == SOURCE:
            data = json_lines(1000) * (SOURCE_SIZE // len(json_lines(1000)))
            self.send(data + hashlib.blake2b(data).hexdigest().encode())
        elif port == BOMB:
            self.send(bytes(64 << 20))
        else:
            assert self.read()
            self.send(b"good")
            assert self.read()  # it was heard: what is decoded together with what is corrupt is lost
            if port == CORRUPT:
                self.sock.sendall(b"\xff" * 100)
                self.read()  # until the other end has noticed
            self.sock.shutdown(socket.SHUT_WR)
            return
        self.sock.sendall(self.end.end())
        self.sock.shutdown(socket.SHUT_WR)
        while self.read():
            pass

    def read(self) -> bytes:
        """Return the next octets, none once the other end has ended, and properly."""
        data, self.kept = self.kept, b""
        while not data:
            words = self.sock.recv(65536)
            if not words:
                assert self.end.is_over(), "the stream was cut off"
                return b""
            self.wire += len(words)
            data = self.end.decode(words)
        return data

    def exactly(self, size: int) -> bytes:
        while len(self.kept) < size:
            words = self.sock.recv(65536)
            assert words
            self.kept += self.end.decode(words)
        found, self.kept = self.kept[:size], self.kept[size:]
        return found

    def send(self, data: bytes) -> None:
        self.sock.sendall(self.end.encode(data))
