"""How much memory all flows together may hold, and how short it is.

Each flow says once, when it settles, by how much what it holds has changed. The sum has three levels:

    CALM       buffers grow with use
    PRESSURE   from three quarters on: buffers shrink to the least, more than that ahead of a gap is given up
               (RFC 2018 §8), an upstream is read one segment at a time; it ends below five eighths
    FULL       nothing is kept ahead of a gap, nobody new is let in

A promise is not taken back: a window once advertised may still be filled (RFC 9293 §3.8.6). So the sum stays
below the limit plus one window for each flow, which under pressure is FLOOR for those that begin.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

CALM: Final[i64] = 0
PRESSURE: Final[i64] = 1
FULL: Final[i64] = 2
LEVEL_NAMES: Final = ("calm", "pressure", "full")

NEVER: Final[i64] = 1 << 60

# our choice, where nobody says otherwise
MEMORY: Final[i64] = 256 << 20


@final
@mypyc_attr(native_class=True)
class Budget:
    """The octets that flows hold, against a limit in octets."""

    def __init__(self, limit: i64 = MEMORY) -> None:
        self.limit: Final = limit
        self.used: i64 = 0
        self.level: i64 = CALM
        self.is_news: bool = False  # pressure has begun; who looks after idle flows takes note of it
        self._high: Final = limit - limit // 4
        self._low: Final = limit - limit // 8 * 3
        self._up: i64 = limit - limit // 4  # from here on the level may be higher
        self._down: i64 = 0  # below this the level may be lower

    def charge(self, change: i64) -> None:
        """Take note that a flow holds so many octets more, or fewer."""
        used = self.used + change
        self.used = used
        if used >= self._up or used < self._down:
            self._move()

    def _move(self) -> None:
        used = self.used
        if used >= self.limit:
            level = FULL
        elif used >= self._high or (self.level != CALM and used >= self._low):
            level = PRESSURE
        else:
            level = CALM
        if self.level == CALM and level != CALM:
            self.is_news = True
        self.level = level
        if level == CALM:
            self._up, self._down = self._high, 0
        elif level == PRESSURE:
            self._up, self._down = self.limit, self._low
        else:
            self._up, self._down = NEVER, self.limit
