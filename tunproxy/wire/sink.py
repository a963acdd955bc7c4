"""Where finished frames go: the one outlet of the engines below and the device above."""

from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class FrameSink:
    """Takes outbound frames in order. Never blocks; a frame the device refuses is counted and dropped."""

    def write(self, frame: bytes) -> None:
        """Send one whole frame."""
        raise NotImplementedError

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        """Send one frame given as header and pieces of payload, without joining them.

        The list belongs to the callee. A piece may be a view of a buffer that is used again as soon as this
        returns, so whoever keeps frames copies them.
        """
        raise NotImplementedError
