"""What was seen before is known; what was not is never mistaken for it."""

import random

import pytest

from tunproxy.codecs import shadowsocks_replay
from tunproxy.codecs.shadowsocks_replay import KEPT, MOST_SALTS, WINDOW, PacketWindow, SaltMemory


def salts(count: int, start: int = 0) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(start, start + count)]


@pytest.mark.parametrize("is_2022", [False, True])
def test_salt_is_new_once(is_2022: bool) -> None:
    memory = SaltMemory(is_2022)
    assert all(memory.is_new(salt, 1e9) for salt in salts(1000))
    assert not any(memory.is_new(salt, 1e9) for salt in salts(1000))
    assert memory.is_new(b"\xff" * 16, 1e9)


def test_2022_keeps_a_salt_for_sixty_seconds_whenever_it_came() -> None:
    for begins in range(0, 200, 7):
        memory = SaltMemory(is_2022=True)
        now = 1e9
        for second in range(begins):  # whatever else goes on meanwhile
            memory.is_new(second.to_bytes(16, "big"), now + second)
        now += begins
        assert memory.is_new(b"s" * 16, now)
        for later in range(0, int(KEPT) + 1, 3):
            assert not memory.is_new(b"s" * 16, now + later), (begins, later)


def test_2022_forgets_a_salt_that_no_time_stamp_allows_any_more() -> None:
    memory = SaltMemory(is_2022=True)
    for second in range(0, 100_000, 50):
        memory.is_new(second.to_bytes(16, "big"), 1e9 + second)
    assert len(memory._new) + len(memory._old) <= 5


def test_2022_clock_that_is_set_back_forgets_nothing() -> None:
    memory = SaltMemory(is_2022=True)
    assert memory.is_new(b"s" * 16, 1e9)
    assert not memory.is_new(b"s" * 16, 1e9 - 3600)
    assert not memory.is_new(b"s" * 16, 1e9 - 3600 + KEPT - 1)


def test_2022_full_memory_refuses_rather_than_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadowsocks_replay, "MOST_PER_MINUTE", 10)
    memory = SaltMemory(is_2022=True)
    assert [memory.is_new(salt, 1e9) for salt in salts(12)] == [True] * 10 + [False] * 2
    assert memory.is_new(b"s" * 16, 1e9 + KEPT)


def test_2017_keeps_the_last_hundred_thousand_and_is_bounded() -> None:
    memory = SaltMemory(is_2022=False)
    for salt in salts(3 * MOST_SALTS):
        memory.is_new(salt, 0.0)
    assert len(memory._new) + len(memory._old) <= 2 * MOST_SALTS
    assert not any(memory.is_new(salt, 0.0) for salt in salts(MOST_SALTS, 2 * MOST_SALTS))


def test_2017_memory_may_be_small() -> None:
    memory = SaltMemory(is_2022=False, most=10)
    assert all(memory.is_new(salt, 0.0) for salt in salts(30))
    assert len(memory._new) + len(memory._old) <= 20
    assert not any(memory.is_new(salt, 0.0) for salt in salts(10, 20))


def test_packets_may_overtake_each_other_and_come_once() -> None:
    chance = random.Random(7)
    numbers = list(range(5000))
    for at in range(0, 5000, 1000):
        part = numbers[at : at + 1000]
        chance.shuffle(part)
        numbers[at : at + 1000] = part
    window = PacketWindow()
    for number in numbers:
        assert window.is_new(number)
        window.add(number)
        assert not window.is_new(number)
    assert not any(window.is_new(number) for number in range(5000))


def test_packet_that_is_too_old_to_say_is_refused() -> None:
    window = PacketWindow()
    window.add(10_000)
    assert window.is_new(10_000 - WINDOW + 1)
    assert not window.is_new(10_000 - WINDOW)
    assert not window.is_new(0)


@pytest.mark.parametrize("leap", [1, WINDOW - 1, WINDOW, WINDOW + 1, 1 << 40, (1 << 64) - 1])
def test_packets_far_ahead_do_not_grow_the_memory(leap: int) -> None:
    window = PacketWindow()
    for number in (0, leap):
        assert window.is_new(number)
        window.add(number)
    assert window._seen.bit_length() <= WINDOW
    assert window.is_new(0) is False
    assert not window.is_new(leap)


def test_window_that_begins_behind_a_number_takes_only_what_follows() -> None:
    window = PacketWindow()
    window.begin_behind(-1)
    assert (window.highest, window.is_new(0)) == (-1, True)
    window.begin_behind(3000)
    assert not any(window.is_new(number) for number in range(3001))
    window.add(3005)
    assert window.highest == 3005
    assert [window.is_new(number) for number in (3000, 3001, 3004, 3005, 3006)] == [
        False, True, True, False, True,
    ]  # fmt: skip
