"""Secrets beside what others may choose: found in requests, however they arrive, and nowhere else."""

import pytest

from tunproxy.codecs.exposure import Exposure

PLAIN = b"GET /a HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n"
SECRETS = [
    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: id=7\r\n\r\n",
    b"GET / HTTP/1.1\r\ncookie:id=7\r\n\r\n",
    b"POST /x HTTP/1.1\r\nAUTHORIZATION: Bearer x\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\nCookie : x\n\n",
    b"get / HTTP/1.0\r\nProxy-Authorization: Basic eA==\r\n\r\n",
    b"PROPFIND / HTTP/1.1\r\nX-Api-Key: 7\r\n\r\n",
    b"M-SEARCH * HTTP/1.1\r\nX-Auth-Token: 7\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]
INNOCENT = [
    PLAIN,
    b"GET / HTTP/1.1\r\nX-Cookie-Policy: none\r\nNot-Authorization: x\r\n\r\n",
    b"GET /?q=Cookie:%20x HTTP/1.1\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\nCookie: x\r\n",
    b"\x16\x03\x01\x02\x00\nCookie: x",
    b'{"a": 1}\nCookie: x\n',
    b"220 mail.example ESMTP\r\nAuthorization: x\r\n",
    b"\nCookie: x",
    b"A" * 40 + b" x\nCookie: x",
]


def looked(data: bytes, size: int, *, reads_answers: bool = True) -> Exposure:
    exposure = Exposure(reads_answers=reads_answers)
    for at in range(0, len(data), size):
        exposure.look(data[at : at + size])
    return exposure


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("data", SECRETS)
def test_secret_is_found(data: bytes, size: int) -> None:
    assert looked(data, size).is_found


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("data", INNOCENT)
def test_nothing_is_found_where_there_is_nothing(data: bytes, size: int) -> None:
    assert not looked(data, size).is_found


@pytest.mark.parametrize("size", [1, 3, 64, 100_000])
def test_later_request_is_looked_at_too(size: int) -> None:
    body = b"POST / HTTP/1.1\r\nContent-Length: 20000\r\n\r\n" + b"line of a body\n" * 1000
    assert not looked(PLAIN * 5 + body, size).is_found
    assert looked(PLAIN * 5 + body + SECRETS[0], size).is_found


def test_secret_is_found_before_its_value_has_passed() -> None:
    exposure = Exposure(reads_answers=True)
    assert not exposure.look(PLAIN + b"GET / HTTP/1.1\r\nCook")
    assert not exposure.look(b"ie")
    assert exposure.look(b":")


def test_answer_counts_where_answers_are_read() -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: id=7\r\n\r\n"
    for size in (1, 4, 100):
        assert looked(answer, size).is_found
        assert not looked(answer, size, reads_answers=False).is_found


def test_head_of_each_answer_is_looked_at_and_not_all_of_its_body() -> None:
    exposure = Exposure(reads_answers=True)
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: id=7\r\n\r\n"
    exposure.look(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100):
        assert not exposure.look(bytes(1000))
    assert not exposure.look(cookie)
    exposure.note_question()
    assert exposure.look(cookie)


def test_body_of_a_request_is_looked_at_to_its_end() -> None:
    exposure = looked(b"POST / HTTP/1.1\r\n\r\n" + bytes(200_000), 10_000)
    assert exposure.look(SECRETS[0])


@pytest.mark.parametrize("size", [1, 6, 1000])
def test_request_for_a_tunnel_is_not_the_stream_in_it(size: int) -> None:
    tunnel = b"CONNECT a.example:80 HTTP/1.1\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    assert not looked(tunnel, size).is_found
    assert not looked(tunnel + PLAIN, size).is_found
    assert not looked(tunnel + b"\x16\x03\x01\nCookie: x", size).is_found
    assert looked(tunnel + SECRETS[0], size).is_found
    assert looked(tunnel + tunnel + SECRETS[0], size).is_found


def test_many_ends_of_lines_hide_nothing() -> None:
    for ends in (b"\n" * 5000, b"a\n" * 3000):
        assert not looked(PLAIN + ends, 10_000).is_found
        for secret in SECRETS[:-1]:
            assert looked(PLAIN + ends + secret, 20_000).is_found


def test_what_does_not_begin_as_http_is_not_looked_at_later() -> None:
    exposure = Exposure(reads_answers=True)
    exposure.look(b"\x00\x01\x02")
    assert not exposure.look(SECRETS[0])


def test_what_is_found_stays_found() -> None:
    exposure = looked(SECRETS[0], 1000)
    assert exposure.look(b"anything")


def test_pieces_may_be_views() -> None:
    exposure = Exposure(reads_answers=True)
    assert exposure.look(memoryview(SECRETS[0]))


@pytest.mark.parametrize("line", [b"EHLO mail.example\r\n", b"NICK x\r\n", b"GET /\r\n", b"up \x00\xff\n"])
@pytest.mark.parametrize("size", [1, 6, 1000])
def test_line_that_is_no_request_is_not_looked_behind(line: bytes, size: int) -> None:
    assert not looked(line + b"Cookie: x\r\n" + SECRETS[0], size).is_found


@pytest.mark.parametrize("size", [100, 5000, 100_000])
def test_first_line_may_be_long(size: int) -> None:
    for length in (3000, 7000, 60_000):
        line = b"GET /" + b"a" * length + b" HTTP/1.1\r\n"
        assert not looked(line + b"Host: a\r\n\r\n", size).is_found
        assert looked(line + b"Cookie: x\r\n\r\n", size).is_found


@pytest.mark.parametrize("at", [0, 1, 24, 25, 26, 200, 5000])
def test_secret_is_found_behind_any_number_of_lines(at: int) -> None:
    for end in (b"\n", b"\r\n"):
        assert looked(
            b"GET / HTTP/1.1" + end + (b"X-Y: z" + end) * at + b"Cookie: id=7" + end, 1 << 16
        ).is_found
