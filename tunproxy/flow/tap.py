"""What looks at the octets of one flow while they pass."""

from mypy_extensions import i64, mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class Tap:
    """Takes copies. up_left and down_left: how many octets are still wanted, -1 for no end.

    Where that is 0, the packet path does not call any more; it never waits for a tap.
    """

    def __init__(self) -> None:
        self.up_left: i64 = 0
        self.down_left: i64 = 0

    def take(self, is_up: bool, data: bytes | memoryview) -> None:
        """Copy what is wanted of data, the next octets of a direction. Must not block or raise."""
        raise NotImplementedError

    def close(self, reason: str) -> None:
        """Take note that the flow is over. Must not block or raise."""
        raise NotImplementedError
