"""Whether what a flow carries shrinks: looked at while it is passed on, and measured while it is packed."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.codecs.library import CompressionParameter, ZstdCompressor

# our choices
SAMPLE: Final = 4096  # octets that are tried
LEAST_SAMPLE: Final = 512  # less tells nothing
LEAST_PASSED: Final[i64] = 1 << 16  # octets that are passed on between two trials, at first
MOST_PASSED: Final[i64] = 1 << 22
GLANCE: Final = 64  # octets whose values are counted, between two trials
GLANCE_EVERY: Final[i64] = 1 << 18
FEW_VALUES: Final = 45  # different ones in a glance: noise has 57 ± 2, text less than 40
JUDGED: Final = 8192  # octets packed, after which the result counts
WORTH_TRYING: Final = 7  # eighths: a sample that is no larger, packed, makes it worth packing
WORTH_PACKING: Final = 15  # sixteenths: what is larger, packed, was not worth it
_LEVEL: Final = 1
_WINDOW_LOG: Final = 12  # a small window makes a small, quick compressor

_TLS: Final = b"\x16\x03"  # a handshake's first record (RFC 8446 §5.1)
_FLUSH_FRAME: Final = ZstdCompressor.FLUSH_FRAME

# for all flows: it knows nothing any more of the sample before
_probe: Final = ZstdCompressor(
    options={
        CompressionParameter.compression_level: _LEVEL,
        CompressionParameter.window_log: _WINDOW_LOG,
    }
)


@final
@mypyc_attr(native_class=True)
class Gauge:
    """One direction of one flow. Begins by believing that it shrinks, unless its first octets are TLS's."""

    def __init__(self) -> None:
        self.is_on: bool = True
        self._has_begun: bool = False
        self._left: i64 = 0  # octets to pass on before the next trial
        self._unseen: i64 = 0  # octets to pass on before the next glance
        self._patience: i64 = LEAST_PASSED
        self._taken: i64 = 0  # octets packed since the last judgement
        self._given: i64 = 0  # what they became

    def wants(self, data: bytes | memoryview, size: i64) -> bool:
        """Tell whether what comes next in the flow, data first and size octets in all, should be packed."""
        if not self._has_begun:
            self._has_begun = True
            if bytes(data[:2]) == _TLS or (len(data) >= SAMPLE and not _shrinks(data)):
                self._turn_off()
        if self.is_on:
            return True
        self._left -= size
        self._unseen -= size
        if len(data) < LEAST_SAMPLE or (self._left > 0 and (self._unseen > 0 or not self._glance(data))):
            return False
        if _shrinks(data):
            self.is_on = True
            self._taken = 0
            self._given = 0
            return True
        self._turn_off()
        return False

    def packed(self, taken: i64, given: i64) -> None:
        """Note what a number of octets became, flushed: packing goes on while it is worth it."""
        self._taken += taken
        self._given += given
        if self._taken < JUDGED:
            return
        if self._given * 16 > self._taken * WORTH_PACKING:
            self._turn_off()
        else:
            self._patience = LEAST_PASSED
        self._taken = 0
        self._given = 0

    def _glance(self, data: bytes | memoryview) -> bool:
        """Tell whether a trial is worth it before it is due: so few values look like text."""
        self._unseen = GLANCE_EVERY
        return len(set(data[:GLANCE])) <= FEW_VALUES

    def _turn_off(self) -> None:
        """Pass octets on, each time more of them, before it is tried again."""
        self.is_on = False
        self._left = self._patience
        self._unseen = GLANCE_EVERY
        self._patience = min(self._patience * 2, MOST_PASSED)


def _shrinks(data: bytes | memoryview) -> bool:
    """Tell whether the beginning of data shrinks."""
    size = min(len(data), SAMPLE)
    packed = _probe.compress(data[:size], _FLUSH_FRAME)
    return len(packed) * 8 <= size * WORTH_TRYING
