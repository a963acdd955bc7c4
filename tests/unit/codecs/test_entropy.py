"""Whether a flow shrinks: found out cheaply, and again when it changes."""

from tests.unit.codecs.streams import json_lines, noise, pieces
from tunproxy.codecs.entropy import (
    FEW_VALUES,
    GLANCE,
    GLANCE_EVERY,
    LEAST_PASSED,
    MOST_PASSED,
    SAMPLE,
    Gauge,
)

TEXT = json_lines(2000)


def wants(gauge: Gauge, data: bytes | memoryview) -> bool:
    return gauge.wants(data, len(data))


def passed_on(gauge: Gauge, data: bytes, size: int = 1 << 14) -> int:
    """Return how many octets of data are passed on before the gauge wants some."""
    done = 0
    for piece in pieces(data, size):
        if wants(gauge, piece):
            break
        done += len(piece)
    return done


def test_text_is_wanted_at_once() -> None:
    gauge = Gauge()
    assert wants(gauge, TEXT[:20])
    assert wants(gauge, TEXT[:SAMPLE])
    assert wants(Gauge(), TEXT)


def test_noise_is_not_wanted_from_the_first_octet_on() -> None:
    assert not wants(Gauge(), noise(SAMPLE))


def test_tls_is_known_by_its_first_octets() -> None:
    gauge = Gauge()
    assert not wants(gauge, b"\x16\x03\x01\x02\x00\x01")
    assert not wants(gauge, TEXT[:300])  # too little to tell


def test_what_did_not_shrink_is_not_wanted_any_more() -> None:
    gauge = Gauge()
    assert wants(gauge, noise(100))
    gauge.packed(100, 105)
    assert gauge.is_on  # that is too little to tell
    gauge.packed(8192, 8200)
    assert not gauge.is_on


def test_what_shrinks_stays_wanted() -> None:
    gauge = Gauge()
    for _ in range(100):
        assert wants(gauge, TEXT[:1000])
        gauge.packed(1000, 500)


def test_flow_that_begins_to_shrink_is_wanted_again() -> None:
    gauge = Gauge()
    assert passed_on(gauge, noise(LEAST_PASSED - 1000)) == LEAST_PASSED - 1000
    assert passed_on(gauge, TEXT) < LEAST_PASSED
    assert gauge.is_on


def test_noise_is_tried_ever_more_rarely_but_never_given_up() -> None:
    gauge = Gauge()
    chunk = noise(1 << 16)
    for _ in range(1000):  # 64 MB
        assert not wants(gauge, chunk)
    assert 0 < passed_on(gauge, TEXT * 10) <= MOST_PASSED


def test_flow_that_did_shrink_is_tried_again_soon() -> None:
    gauge = Gauge()
    chunk = noise(1 << 16)
    for _ in range(100):
        assert not wants(gauge, chunk)
    assert passed_on(gauge, TEXT * 10) <= MOST_PASSED
    gauge.packed(100_000, 10_000)
    gauge.packed(100_000, 100_000)
    assert not gauge.is_on
    assert passed_on(gauge, TEXT * 10) <= LEAST_PASSED


def test_small_pieces_are_passed_on_until_there_is_enough_to_tell() -> None:
    gauge = Gauge()
    assert not wants(gauge, noise(SAMPLE))
    for _ in range(2 * LEAST_PASSED // 100):
        assert not wants(gauge, TEXT[:100])
    assert wants(gauge, TEXT[:1000])


def test_pieces_may_be_views() -> None:
    assert not wants(Gauge(), memoryview(noise(SAMPLE)))
    assert wants(Gauge(), memoryview(TEXT))


def test_flow_that_looks_like_text_again_is_tried_before_it_is_due() -> None:
    gauge = Gauge()
    chunk = noise(1 << 16)
    for _ in range(200):  # trials are megabytes apart
        assert not wants(gauge, chunk)
    assert passed_on(gauge, TEXT * 10) <= GLANCE_EVERY + (1 << 14)


def test_text_and_noise_differ_at_a_glance() -> None:
    for seed in range(1000):
        assert len(set(noise(GLANCE, seed))) > FEW_VALUES
    for at in range(0, len(TEXT) - GLANCE, 97):
        assert len(set(TEXT[at : at + GLANCE])) <= FEW_VALUES
