"""Whether a server that answers nobody whom it does not know has answered at all.

A server that cannot decrypt says nothing, and neither does one that is not there. One target that is
silent says nothing of the server; so all ways to it share an ear, and only one that has heard nothing is
worth a line.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros

# our choices
PATIENCE: Final[Micros] = 5_000_000  # after the first datagram on a way
TRUSTED_FOR: Final[Micros] = 60_000_000  # after anything was heard from the server


@final
@mypyc_attr(native_class=True)
class Ear:
    """Listens to one upstream; heard_at is when it last said something that could be decrypted."""

    def __init__(self) -> None:
        self.heard_at: Micros = -1

    def is_deaf(self, since: Micros) -> bool:
        """Tell whether nothing has been heard since then, nor for a while before."""
        return self.heard_at < 0 or self.heard_at + TRUSTED_FOR < since


def words_for_silence(patience: i64) -> str:
    """Return what people are told, after so many microseconds."""
    seconds = patience // 1_000_000
    return f"no datagram has come back for {seconds} s (is the server there, with this password and method?)"
