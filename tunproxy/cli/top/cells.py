"""Text that has a width: what fits into a column of a terminal, and small drawings of rates."""

import unicodedata
from collections.abc import Sequence
from typing import Final

from tunproxy.cli.status_text import size

BARS: Final = "▁▂▃▄▅▆▇█"
CUT: Final = "…"
_WIDE: Final = ("W", "F")
_LEAST_TOP: Final = 1000.0  # our choice: octets a second; less than that is drawn as little, not as a peak


def width_of(text: str) -> int:
    """Return how many columns text takes."""
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(letter) in _WIDE else 0 if unicodedata.combining(letter) else 1
        for letter in text
    )


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return text in exactly width columns: cut, or filled up at its end; at its beginning with right."""
    taken = width_of(text)
    if taken > width:
        kept, taken = "", 0
        for letter in text:
            more = width_of(letter)
            if taken + more > width - 1:
                break
            kept += letter
            taken += more
        text = kept + CUT if width > 0 else ""
        taken += 1 if width > 0 else 0
    fill = " " * (width - taken)
    return fill + text if right else text + fill


def rate(octets: float) -> str:
    """Return octets a second; a dash for none."""
    return f"{size(octets)}/s" if octets >= 0.5 else "-"


def age(seconds: float) -> str:
    """Return a time in its largest unit, in five columns at most up to 1000 days."""
    whole = max(int(seconds), 0)
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def drawing(rates: Sequence[float], width: int) -> str:
    """Return the last rates as bars, the newest at the right; the highest of them has the highest bar."""
    shown = rates[-width:] if width > 0 else ()
    top = max([_LEAST_TOP, *shown])
    bars = (" " if each < 0.5 else BARS[min(int(each / top * len(BARS)), len(BARS) - 1)] for each in shown)
    return "".join(bars).rjust(width)
