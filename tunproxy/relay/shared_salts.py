"""The salts of all Shadowsocks streams, remembered for all workers in one piece of memory.

    ┌ head ┐┌ index ──────────┐┌ salts, in order ─┐┌ index ───┐┌ salts ──┐
    │      ││ 0 0 2 0 0 1 0 … ││ first │ second │ ││          ││         │
    └──────┘└─────────────────┘└──────────────────┘└──────────┘└─────────┘
             the newer half                         the older half, or the other way round

Who looks holds the memory's lock, which a worker that dies lets go of. What is written last makes what was
written before it count: so a death in the middle forgets its own salt at most, whose stream has died as well.
"""

import mmap
from typing import Final, final

from tunproxy.codecs.shadowsocks_keys import method_named
from tunproxy.codecs.shadowsocks_replay import KEPT, MOST_PER_MINUTE, MOST_SALTS, SaltMemory
from tunproxy.relay.settings import RelayConfig
from tunproxy.relay.shared_memory import SharedMemory

_WORD: Final = 8
_NUMBER: Final = 4  # octets of an entry of the index
_EMPTY: Final = 0

# words of the head
_NEWER: Final = 0  # which half
_SINCE: Final = 1  # when it became so, in microseconds
_COUNTS: Final = 2  # how many salts each half has


@final
class SharedSalts(SaltMemory):
    """What ``SaltMemory`` promises, for all processes that are forked after it was made.

    most is how many salts a half has room for.
    """

    def __init__(self, salt_len: int, *, is_2022: bool, most: int = 0) -> None:
        super().__init__(is_2022)
        self._keeps_time: Final = is_2022
        self._salt_len: Final = salt_len
        self._most: Final = most or (MOST_PER_MINUTE if is_2022 else MOST_SALTS)
        self._mask: Final = (1 << (2 * self._most - 1).bit_length()) - 1  # half of the index stays empty
        index_size = _pages((self._mask + 1) * _NUMBER)
        self._half_size: Final = index_size + _pages(self._most * salt_len)
        self._memory: Final = SharedMemory("salts", mmap.PAGESIZE + 2 * self._half_size)
        whole = memoryview(self._memory.octets)
        self._head: Final = whole[: 4 * _WORD].cast("q")
        starts = [mmap.PAGESIZE + half * self._half_size for half in (0, 1)]
        self._index: Final = [whole[at : at + index_size].cast("I") for at in starts]
        self._salts: Final = [whole[at + index_size : at + self._half_size] for at in starts]

    def is_new(self, salt: bytes, now: float) -> bool:
        with self._memory:
            return self._note(salt, int(now * 1_000_000))

    def close(self) -> None:
        """Forget all, where no other process has it."""
        for view in (self._head, *self._index, *self._salts):
            view.release()
        self._memory.close()

    def _note(self, salt: bytes, now: int) -> bool:
        head = self._head
        newer = head[_NEWER]
        if self._keeps_time:
            age = now - head[_SINCE]
            if age < 0:  # the clock was set back: what is known stays known
                head[_SINCE] = now
            elif age >= KEPT * 1_000_000:
                newer = self._turn(newer)
                if age >= 2 * KEPT * 1_000_000:
                    self._clear(1 - newer)
                head[_SINCE] = now
            elif head[_COUNTS + newer] >= self._most:
                return False
        elif head[_COUNTS + newer] >= self._most:
            newer = self._turn(newer)
        at, is_there = self._find(newer, salt)
        if is_there or self._find(1 - newer, salt)[1]:
            return False
        count = head[_COUNTS + newer]
        self._salts[newer][count * self._salt_len : (count + 1) * self._salt_len] = salt
        head[_COUNTS + newer] = count + 1
        self._index[newer][at] = count + 1
        return True

    def _find(self, half: int, salt: bytes) -> tuple[int, bool]:
        """Return where in the index of a half salt is, or would be, and whether it is there.

        Python's hash has a secret, which all that were forked share: nobody can choose salts that collide.
        """
        index, salts, size = self._index[half], self._salts[half], self._salt_len
        at = hash(salt) & self._mask
        while True:
            number = index[at]
            if number == _EMPTY:
                return at, False
            if salts[(number - 1) * size : number * size] == salt:
                return at, True
            at = at + 1 & self._mask

    def _turn(self, newer: int) -> int:
        """Forget the older half, and begin it anew; return which one that is."""
        self._clear(1 - newer)
        self._head[_NEWER] = 1 - newer
        return 1 - newer

    def _clear(self, half: int) -> None:
        start = mmap.PAGESIZE + half * self._half_size
        # zeros, and the memory is given back
        self._memory.octets.madvise(mmap.MADV_REMOVE, start, self._half_size)
        self._head[_COUNTS + half] = 0


def salts_of(config: RelayConfig) -> SharedSalts | None:
    """Return the memory of the Shadowsocks listener, where there is one."""
    if config.shadowsocks is None:
        return None
    method = method_named(config.shadowsocks.method)
    return SharedSalts(method.key_len, is_2022=method.is_2022)


def _pages(size: int) -> int:
    """Return size as whole pages."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
