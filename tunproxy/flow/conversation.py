"""What is said to a proxy before a flow goes through it: a protocol without I/O.

Whoever owns the socket sends what ``begin`` returns, hands ``heard`` everything that arrives, and sends
what that returns, until ``is_over``. From then on the stream is the target's; ``rest`` holds those of its
octets that came together with the proxy's last words. Where both have agreed on a codec, or need not agree on
one, all that follows on the socket goes through ``codec``; ``rest`` is in the clear.
"""

from mypy_extensions import mypyc_attr

from tunproxy.flow.codec import Codec


@mypyc_attr(allow_interpreted_subclasses=True)
class Conversation:
    """One conversation, with one proxy, about one flow. Ends ``is_over``, or with an exception.

    OSError, with the errno that the proxy told of, says that the target cannot be reached. OpenError says
    that the proxy itself does not do what was asked of it, and is worth a line in the log.
    """

    def __init__(self) -> None:
        self.is_over: bool = False
        self.rest: bytes = b""
        self.codec: Codec | None = None

    def begin(self) -> bytes:
        """Return the first octets to send; with none, the proxy speaks first, or there is nothing to say."""
        raise NotImplementedError

    def heard(self, data: bytes) -> bytes:
        """Take octets that arrived, at least one and cut anywhere; return the octets to send now."""
        raise NotImplementedError
