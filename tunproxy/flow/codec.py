"""What is done to a stream on its way: encrypted, compressed, framed. The packet path drives it."""

from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class Codec:
    """Both directions of one flow's stream, between us (in the clear) and whoever is upstream.

    Nothing here does I/O or blocks. Corrupt input raises an exception, which ends the flow with a reset.
    """

    def encode(self, data: bytes | memoryview) -> bytes:
        """Take octets in the clear; return those to send, which may be fewer, or none, until flush."""
        raise NotImplementedError

    def flush(self) -> bytes:
        """Return what encode has kept back: the sender pauses."""
        return b""

    def end(self) -> bytes:
        """Return the last octets to send: the client has said everything. Nothing is encoded after this."""
        return b""

    def decode(self, data: bytes) -> bytes:
        """Take octets that arrived; return those in the clear, of which there may be none."""
        raise NotImplementedError

    def answer(self) -> bytes:
        """Return what the codec itself has to say to the other end after decode; most say nothing."""
        return b""

    def has_ended(self) -> bool:
        """Tell whether the other end has said, in the codec's own words, that nothing follows."""
        return False

    def decode_end(self) -> bytes:
        """The socket has ended: return what decode kept back; raises where something was cut off."""
        return b""
