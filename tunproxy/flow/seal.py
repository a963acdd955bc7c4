"""What is done to datagrams as a whole on their way through a proxy: they are encrypted, header and payload.

    to the proxy      seal(header, payload)
    from the proxy    open(datagram) = header ‖ payload       the header in the clear, as the framing knows it

A seal is one way's, as it may count what it seals. It costs a call each way, and what its cipher costs.
"""

from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class Seal:
    """Both directions of one way. Does no I/O.

    What arrives may be anything: open never raises, and what it could not open has changed nothing.
    """

    def __init__(self) -> None:
        self.why: str = ""  # the last datagram could not be opened, for people

    def seal(self, header: bytes, payload: bytes | memoryview) -> bytes:
        """Return the datagram that stands for header ‖ payload. Datagrams of one size may become one size."""
        raise NotImplementedError

    def open(self, datagram: bytes) -> bytes | None:
        """Return header ‖ payload of a datagram that arrived; None where it is not to be believed."""
        raise NotImplementedError
