"""The codecs that are used: both formats, with all that is around them."""

import gzip
import random
import subprocess
from collections import Counter

import pytest

from tests.unit.codecs.mutations import fed, good_streams, spoiled
from tests.unit.codecs.streams import decoded, encoded, heard, json_lines, noise, pieces
from tunproxy.codecs.adaptive import FLUSHED, Adaptive
from tunproxy.codecs.gzip import GzipPacker, GzipUnpacker
from tunproxy.codecs.zstd import ZstdPacker, ZstdUnpacker
from tunproxy.flow.codec import CodecError

TEXT = json_lines(5000)
REQUEST = b"GET /search?q=%d HTTP/1.1\r\nHost: a.example\r\nAccept: text/html\r\n\r\n"
WITH_COOKIE = b"GET /search?q=%d HTTP/1.1\r\nHost: a.example\r\nCookie: id=0123456789abcdef\r\n\r\n"


def codec(name: str, *, compress_secrets: bool = False) -> Adaptive:
    if name == "zstd":
        return Adaptive(ZstdPacker(), ZstdUnpacker(), compress_secrets=compress_secrets)
    return Adaptive(GzipPacker(), GzipUnpacker(), compress_secrets=compress_secrets)


def by_program(name: str, words: bytes) -> bytes:
    return subprocess.run([name, "-dc"], input=words, capture_output=True, check=True, timeout=60).stdout


BOTH = pytest.mark.parametrize("name", ["zstd", "gzip"])


@BOTH
def test_log_shrinks_to_a_fifth_and_the_program_reads_it(name: str) -> None:
    words = encoded(codec(name), pieces(TEXT, 1 << 16))
    assert len(TEXT) >= 5 * len(words)
    assert decoded(codec(name), words) == TEXT
    assert by_program(name, words) == TEXT


@BOTH
def test_noise_grows_by_less_than_a_thousandth(name: str) -> None:
    clear = noise(1 << 21)
    words = encoded(codec(name), pieces(clear, 1 << 16))
    assert len(words) - len(clear) < len(clear) / 1000
    assert decoded(codec(name), words) == clear
    assert by_program(name, words) == clear


@BOTH
def test_noise_in_small_pieces_grows_by_less_than_a_thousandth_where_nobody_pauses(name: str) -> None:
    clear = noise(1 << 20)
    words = encoded(codec(name), pieces(clear, 1400), flushes=False)
    assert len(words) - len(clear) < len(clear) / 1000
    assert decoded(codec(name), words) == clear


@BOTH
def test_flow_that_changes_is_packed_where_it_shrinks(name: str) -> None:
    clear = TEXT + noise(1 << 20) + TEXT + noise(1 << 20) + TEXT
    words = encoded(codec(name), pieces(clear, 1 << 16))
    assert len(words) < (2 << 20) + len(TEXT)  # two in three, at least, packed
    assert decoded(codec(name), words) == clear
    assert by_program(name, words) == clear


@BOTH
@pytest.mark.parametrize("seed", range(6))
def test_any_conversation_arrives_as_it_was_said(name: str, seed: int) -> None:
    chance = random.Random(seed)
    ours, theirs = codec(name), codec(name)
    for _ in range(60):
        size = chance.choice([1, 10, 600, 5000, 100_000])
        data = chance.choice([TEXT[:size], noise(size, seed), REQUEST * 3, WITH_COOKIE])
        sender, other = chance.choice([(ours, theirs), (theirs, ours)])
        if chance.random() < 0.1:
            words = sender.conceal(data)
        elif chance.random() < 0.5:
            words = sender.encode(memoryview(data)) + sender.flush()
        else:
            cuts: list[bytes | memoryview] = [*pieces(data, chance.choice([1 + size // 3, 1400, 65_536]))]
            found = sender.encode_pieces(cuts)
            assert all(found)
            words = b"".join(found) + sender.flush()
        assert not sender.keeps()
        assert heard(other, words, chance.choice([100, 65_536])) == data
    assert heard(theirs, ours.end()) == theirs.decode_end() == b""
    words = theirs.encode(b"still here") + theirs.end()  # a half-closed flow
    assert heard(ours, words) == b"still here"
    assert ours.decode_end() == b""


@BOTH
def test_large_pieces_that_are_stored_are_not_copied(name: str) -> None:
    ours = codec(name)
    parts: list[bytes | memoryview] = [*pieces(noise(1 << 16), 16_000)]
    found = ours.encode_pieces(list(parts))
    assert all(any(each is part for each in found) for part in parts[:4])
    assert heard(codec(name), b"".join(found)) == noise(1 << 16)


@BOTH
def test_everything_flushed_can_be_read_at_once(name: str) -> None:
    ours, theirs = codec(name), codec(name)
    for data in (b"x", b"keystroke", noise(700), b"y" * 10, noise(5000), TEXT[:9]):
        assert heard(theirs, ours.encode(data) + ours.flush()) == data
        assert ours.flush() == b""


@BOTH
def test_nothing_is_nothing(name: str) -> None:
    ours = codec(name)
    assert ours.encode(b"") == ours.flush() == ours.conceal(b"") == b""
    assert not ours.keeps()
    assert decoded(codec(name), ours.end()) == b""


@BOTH
def test_stream_that_never_pauses_is_flushed_sometimes(name: str) -> None:
    ours, theirs = codec(name), codec(name)
    words = b"".join(ours.encode(piece) for piece in pieces(TEXT * 4, 1 << 16))
    assert len(heard(theirs, words)) >= len(TEXT * 4) - FLUSHED


@BOTH
def test_cut_stream_is_an_error(name: str) -> None:
    ours = codec(name)
    words = ours.encode(TEXT) + ours.flush()
    for whole in (words, words + ours.end()):
        theirs = codec(name)
        heard(theirs, whole[: len(words)])
        with pytest.raises(CodecError, match="cut off"):
            theirs.decode_end()
    with pytest.raises(CodecError, match="cut off"):
        codec(name).decode_end()


@BOTH
def test_request_with_a_cookie_and_all_that_follows_is_stored_at_both_ends(name: str) -> None:
    ours, theirs = codec(name), codec(name)
    plain = REQUEST % 1 * 20
    assert len(ours.encode(plain) + ours.flush()) < len(plain) / 3
    ours, theirs = codec(name), codec(name)
    assert heard(theirs, ours.encode(REQUEST % 1) + ours.flush()) == REQUEST % 1
    assert not ours.is_exposed
    words = ours.encode(WITH_COOKIE % 1) + ours.flush()
    assert WITH_COOKIE % 1 in words  # as it is
    assert heard(theirs, words) == WITH_COOKIE % 1
    assert ours.is_exposed
    assert theirs.is_exposed
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"you asked for 1 " * 100
    words = theirs.encode(answer) + theirs.flush()
    assert answer in words
    assert heard(ours, words) == answer
    assert TEXT[:60_000] in ours.encode(TEXT[:60_000]) + ours.flush()


@BOTH
def test_answer_that_sets_a_cookie_is_stored(name: str) -> None:
    theirs = codec(name)
    heard(theirs, encoded(codec(name), [REQUEST % 1])[:-20])
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: id=0123456789abcdef\r\n\r\n" + b"a" * 300
    assert answer in theirs.encode(answer) + theirs.flush()


@BOTH
def test_guess_at_a_cookie_does_not_show_in_the_length(name: str) -> None:
    lengths = set()
    for guess in (b"id=0123456789abcdef", b"id=zzzzzzzzzzzzzzzz"):
        ours = codec(name)
        body = b"POST /" + guess + b" HTTP/1.1\r\nCookie: id=0123456789abcdef\r\n\r\n" + guess
        lengths.add(len(ours.encode(body) + ours.flush()))
    assert len(lengths) == 1


@BOTH
def test_secrets_are_compressed_where_the_user_says_so(name: str) -> None:
    ours = codec(name, compress_secrets=True)
    clear = WITH_COOKIE % 1 * 20
    words = ours.encode(clear) + ours.flush()
    assert not ours.is_exposed
    assert len(words) < len(clear) / 3


@BOTH
def test_what_is_concealed_is_stored_and_leaves_no_trace_in_what_follows(name: str) -> None:
    guess = b"Proxy-Authorization: Basic " + b"c2VjcmV0" * 20
    afterwards = set()
    for login in (guess, noise(len(guess))):
        ours, theirs = codec(name), codec(name)
        words = ours.encode(b"before " * 30) + ours.conceal(login)
        assert login in words
        assert heard(theirs, words) == b"before " * 30 + login
        after = ours.encode(guess) + ours.flush()
        assert heard(theirs, after) == guess
        assert not ours.is_exposed
        afterwards.add(after)
    assert len(afterwards) == 1


def test_decoder_of_the_library_reads_what_we_send() -> None:
    clear = TEXT + noise(100_000)
    assert gzip.decompress(encoded(codec("gzip"), pieces(clear, 50_000))) == clear


@BOTH
def test_ten_thousand_spoiled_streams_raise_codec_error_or_nothing(name: str) -> None:
    """``tests/bench/codecs_soak.py`` does the same with a million."""
    streams = good_streams(name)
    chance = random.Random(7)
    results = Counter(fed(codec(name), spoiled(chance, streams), chance) for _ in range(10_000))
    assert sum(count for said, count in results.items() if "corrupt" in said) > 3000
    assert sum(count for said, count in results.items() if "cut off" in said) > 500
    assert results[""] > 50


@BOTH
def test_good_streams_are_good(name: str) -> None:
    for words in good_streams(name):
        said = fed(codec(name), words, random.Random(1))
        assert said in ("", "enough") or "dictionary" in said
