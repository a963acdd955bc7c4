"""What a device promises; the contract every device and every wrapper keeps."""

from mypy_extensions import mypyc_attr

from tunproxy.wire.sink import FrameSink


@mypyc_attr(allow_interpreted_subclasses=True)
class Device(FrameSink):
    """A source and sink of whole frames.

    fd becomes readable when read() has something to return; it is -1 for a device that lives in memory,
    which whoever owns it asks by itself.
    """

    def __init__(self, fd: int = -1) -> None:
        self.fd = fd

    def read(self) -> bytes | None:
        """Return the next frame, or None when the device has none right now. Never blocks."""
        raise NotImplementedError
