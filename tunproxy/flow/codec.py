"""What is done to a stream on its way: encrypted, compressed, framed. The packet path drives it."""

from typing import Final

from mypy_extensions import mypyc_attr

from tunproxy.clock import Micros
from tunproxy.errors import RemoteProtocolError

# our choice: what one call of decode returns at most, whatever a few octets unfold to
MOST_DECODED: Final = 1 << 18

# of who has a codec say more and more, and reads nothing
WANTS_ANSWERS: Final = "it wants answers and takes none"


class CodecError(RemoteProtocolError):
    """What arrived is not what the other end's codec makes: corrupt, cut off, or for somebody else."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Codec:
    """Both directions of one flow's stream, between us (in the clear) and whoever is upstream.

    Nothing here does I/O or blocks. Corrupt input raises an exception, CodecError where it is one of ours,
    which ends the flow with a reset. No call returns much more than MOST_DECODED, or than it was given.
    """

    def encode(self, data: bytes | memoryview) -> bytes:
        """Take octets in the clear; return those to send, which may be fewer, or none, until flush."""
        raise NotImplementedError

    def encode_pieces(self, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """Do what encode does with pieces in a row; return pieces to send in a row, none of them empty.

        Where octets pass unchanged, they need not be copied. The list is the codec's to keep.
        """
        words = self.encode(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        return [words] if len(words) > 0 else []

    def keeps(self) -> bool:
        """Tell whether encode may have kept something back, so that flush is worth a call."""
        return True

    def flush(self) -> bytes:
        """Return what encode has kept back: the sender pauses."""
        return b""

    def conceal(self, data: bytes | memoryview) -> bytes:
        """Encode and flush octets that hold a secret, such as a login: their length must tell nothing of it.

        What compresses must not have them beside octets that somebody else may choose.
        """
        return self.encode(data) + self.flush()

    def patience(self) -> Micros:
        """Return how long the codec's own first words may wait for the client's, to go out with them.

        After that they are flushed alone. -1: there are none.
        """
        return -1

    def end(self) -> bytes:
        """Return the last octets to send: the client has said everything. Nothing is encoded after this."""
        return b""

    def decode(self, data: bytes) -> bytes:
        """Take octets that arrived; return those in the clear, of which there may be none.

        Where they unfold to more than may be returned at once, has_more says so, and decode(b"") goes on.
        """
        raise NotImplementedError

    def decode_pieces(self, data: bytes) -> list[bytes | memoryview]:
        """Do what decode does; return pieces in a row, none of them empty.

        Where octets pass unchanged, the pieces are parts of data, which need not be copied.
        """
        clear = self.decode(data)
        return [clear] if len(clear) > 0 else []

    def has_more(self) -> bool:
        """Tell whether decode(b"") returns more of what has arrived already."""
        return False

    def answer(self) -> bytes:
        """Return what the codec itself has to say to the other end after decode; most say nothing."""
        return b""

    def has_ended(self) -> bool:
        """Tell whether the other end has said, in the codec's own words, that nothing follows."""
        return False

    def decode_end(self) -> bytes:
        """The socket has ended: return what decode kept back; raises where something was cut off.

        Where that leaves more (has_more), it is called again after decode(b"") has returned that.
        """
        return b""

    def on_reset(self) -> None:
        """The socket was reset: raises where that tells people something of the other end."""
