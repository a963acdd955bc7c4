"""How long answers are kept, and how many."""

from tests.unit.dns.world import SECOND
from tunproxy.dns.cache import MOST, AnswerCache
from tunproxy.dns.message import NOERROR, Answer


def answer(lifetime: int, size: int = 0) -> Answer:
    return Answer(NOERROR, bytes(size), lifetime=lifetime)


def test_answer_is_there_until_its_lifetime_is_over() -> None:
    cache, kept = AnswerCache(), answer(10)
    cache.put(b"a", kept, 5 * SECOND)
    found = cache.get(b"a", 15 * SECOND - 1)
    assert found is not None
    assert (found.answer, found.at) == (kept, 5 * SECOND)
    assert cache.get(b"a", 15 * SECOND) is None
    assert (len(cache), cache.octets) == (0, 0)


def test_answer_without_a_lifetime_is_not_kept() -> None:
    cache = AnswerCache()
    cache.put(b"a", answer(0), 0)
    assert cache.get(b"a", 0) is None


def test_lifetime_ends_after_a_day() -> None:
    cache = AnswerCache()
    cache.put(b"a", answer(10 * MOST), 0)
    assert cache.get(b"a", MOST * SECOND - 1) is not None
    assert cache.get(b"a", MOST * SECOND) is None


def test_least_recently_used_gives_way() -> None:
    cache = AnswerCache(max_entries=3)
    for key in (b"a", b"b", b"c"):
        cache.put(key, answer(10), 0)
    cache.get(b"a", 1)
    cache.put(b"d", answer(10), 2)
    assert [key for key in (b"a", b"b", b"c", b"d") if cache.get(key, 3)] == [b"a", b"c", b"d"]


def test_octets_are_bounded() -> None:
    cache = AnswerCache(max_octets=10_000)
    for number in range(100):
        cache.put(b"%d" % number, answer(10, 1000), 0)
        assert cache.octets <= 10_000
    assert len(cache) == 7
    cache.put(b"large", answer(10, 20_000), 0)
    assert (len(cache), cache.get(b"large", 1)) == (7, None)


def test_replaced_answer_counts_once() -> None:
    cache = AnswerCache()
    cache.put(b"a", answer(10, 500), 0)
    before = cache.octets
    cache.put(b"a", answer(20, 500), 1)
    assert (len(cache), cache.octets) == (1, before)
    cache.clear()
    assert (len(cache), cache.octets) == (0, 0)


def test_old_answer_stays_at_hand_where_wanted() -> None:
    cache = AnswerCache(stale_for=60)
    cache.put(b"a", answer(10), 0)
    assert cache.get(b"a", 20 * SECOND) is None
    assert cache.stale(b"a", 20 * SECOND) is not None
    assert cache.stale(b"a", 70 * SECOND) is None
    assert cache.get(b"a", 70 * SECOND) is None
    assert len(cache) == 0


def test_old_answer_is_gone_otherwise() -> None:
    cache = AnswerCache()
    cache.put(b"a", answer(10), 0)
    assert cache.stale(b"a", 20 * SECOND) is None
