"""What was said to one process is known to all of them, also when one dies."""

import contextlib
import os
import random
import signal
from collections.abc import Iterator

import pytest

from tests.unit.relay.children import in_a_child, in_children
from tests.unit.relay.world import config_of
from tunproxy.codecs.shadowsocks_replay import KEPT, SaltMemory
from tunproxy.relay.shared_salts import SharedSalts, salts_of

KEY = "AAECAwQFBgcICQoLDA0ODw=="


@contextlib.contextmanager
def shared(*, is_2022: bool = True, most: int = 1000, salt_len: int = 16) -> Iterator[SharedSalts]:
    made = SharedSalts(salt_len, is_2022=is_2022, most=most)
    yield made
    made.close()


def salts(count: int, start: int = 0, salt_len: int = 16) -> list[bytes]:
    return [number.to_bytes(salt_len, "big") for number in range(start, start + count)]


@pytest.mark.parametrize("is_2022", [False, True])
@pytest.mark.parametrize("salt_len", [16, 24, 32])
def test_salt_is_new_once_whoever_asks(is_2022: bool, salt_len: int) -> None:
    with shared(is_2022=is_2022, salt_len=salt_len) as memory:
        known = salts(300, 0, salt_len)
        assert all(memory.is_new(salt, 1e9) for salt in known[::2])
        assert in_a_child(lambda: all(memory.is_new(salt, 1e9) for salt in known[1::2]))
        assert not any(memory.is_new(salt, 1e9) for salt in known)
        assert not in_a_child(lambda: any(memory.is_new(salt, 1e9) for salt in known))
        assert memory.is_new(b"\xff" * salt_len, 1e9)


def test_of_many_processes_at_once_one_is_told_that_it_is_new() -> None:
    with shared(most=10_000) as memory:
        known = salts(3000)

        def new_to(number: int) -> int:
            mine = known[:]
            random.Random(number).shuffle(mine)
            return sum(memory.is_new(salt, 1e9) for salt in mine)

        assert sum(in_children(4, new_to)) == len(known)


def test_who_dies_with_the_lock_lets_go_of_it() -> None:
    with shared() as memory:
        assert memory.is_new(b"a" * 16, 1e9)
        pid = os.fork()
        if pid == 0:
            memory._note = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assign]
            memory.is_new(b"b" * 16, 1e9)
            os._exit(0)
        os.waitpid(pid, 0)
        assert not memory.is_new(b"a" * 16, 1e9)
        assert memory.is_new(b"b" * 16, 1e9)


@pytest.mark.parametrize("step", [0.9, 3.7, 17.0, 61.0, 130.0])
def test_2022_agrees_with_the_memory_of_one_process(step: float) -> None:
    chance = random.Random(step)
    with shared(most=5000) as memory:
        other, now = SaltMemory(is_2022=True), 1e9
        for _ in range(3000):
            salt = chance.randrange(40).to_bytes(16, "big")
            assert memory.is_new(salt, now) == other.is_new(salt, now)
            if chance.random() < 0.3:
                now += step * chance.random() - (step if chance.random() < 0.05 else 0)


def test_2022_keeps_a_salt_for_sixty_seconds_whenever_it_came() -> None:
    for begins in range(0, 200, 17):
        with shared() as memory:
            now = 1e9
            for second in range(begins):
                memory.is_new(second.to_bytes(16, "big"), now + second)
            now += begins
            assert memory.is_new(b"s" * 16, now)
            for later in range(0, int(KEPT) + 1, 3):
                assert not memory.is_new(b"s" * 16, now + later), (begins, later)
            assert memory.is_new(b"s" * 16, now + 3 * KEPT)


def test_2022_full_memory_refuses_rather_than_forgets() -> None:
    with shared(most=10) as memory:
        assert [memory.is_new(salt, 1e9) for salt in salts(12)] == [True] * 10 + [False] * 2
        assert memory.is_new(b"s" * 16, 1e9 + KEPT)
        assert not memory.is_new(salts(1)[0], 1e9 + KEPT)


def test_2017_keeps_as_many_as_a_half_has_room_for() -> None:
    with shared(is_2022=False, most=100) as memory:
        for round_ in range(10):
            assert all(memory.is_new(salt, 0.0) for salt in salts(100, 100 * round_))
            assert not any(memory.is_new(salt, 0.0) for salt in salts(100, 100 * round_))


def test_memory_is_as_the_method_asks() -> None:
    text = '[shadowsocks]\nlisten = []\nmethod = "{}"\npassword = "{}"\n'
    for method, password, salt_len in (("aes-192-gcm", "fish", 24), ("2022-blake3-aes-128-gcm", KEY, 16)):
        made = salts_of(config_of(text.format(method, password)))
        assert made is not None
        assert made.is_new(bytes(salt_len), 1e9)
        assert made.is_new(bytes(salt_len), 1e9 + 3600) is method.startswith("2022")
        made.close()
    assert salts_of(config_of("")) is None


def test_what_nobody_has_said_takes_no_memory() -> None:
    memory = SharedSalts(32, is_2022=True)
    assert os.fstat(memory._memory.fd).st_blocks * 512 < 1 << 20
    for number, salt in enumerate(salts(2000, salt_len=32)):
        assert memory.is_new(salt, 1e9 + number * KEPT / 2000)
    assert os.fstat(memory._memory.fd).st_blocks * 512 < 16 << 20
    for later in (1, 2, 3):
        memory.is_new(b"s" * 32, 1e9 + later * KEPT)
    assert os.fstat(memory._memory.fd).st_blocks * 512 < 1 << 20
    memory.close()
