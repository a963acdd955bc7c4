"""How datagrams lie in a stream to a proxy, one behind the other: for a way that leads to one target.

head(size) ‖ payload ‖ head(size) ‖ payload …       both ways
"""

from mypy_extensions import i64, mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamFraming:
    """Both directions of one stream. Does no I/O."""

    def head(self, size: i64) -> bytes:
        """Return what stands in front of a payload of size octets, at most 65,507."""
        raise NotImplementedError

    def take(self, data: bytes) -> list[bytes]:
        """Take octets that arrived, cut anywhere; return the payloads that are complete now.

        Raises whatever says, in its words, what is wrong with the stream, which then is over.
        """
        raise NotImplementedError

    def is_between(self) -> bool:
        """Tell whether the stream may end here: nothing has been cut off."""
        raise NotImplementedError
