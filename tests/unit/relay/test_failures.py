"""What errors of the kernel become, and that every kind has its words in both protocols."""

import errno

import pytest

from tunproxy.relay.failures import (
    BUSY,
    HTTP_STATUS,
    KINDS,
    REFUSED,
    SOCKS_CODE,
    TIMED_OUT,
    UNREACHABLE,
    RequestFailed,
    failure_of,
)


@pytest.mark.parametrize(
    ("number", "kind", "status", "code"),
    [
        (errno.ECONNREFUSED, REFUSED, "502", 5),
        (errno.EHOSTUNREACH, UNREACHABLE, "502", 4),
        (errno.ENETUNREACH, UNREACHABLE, "502", 3),
        (errno.ETIMEDOUT, TIMED_OUT, "504", 6),
        (errno.EMFILE, BUSY, "503", 1),
        (errno.EPROTO, UNREACHABLE, "502", 4),
    ],
)
def test_error_of_the_kernel_is_told(number: int, kind: str, status: str, code: int) -> None:
    failure = failure_of(OSError(number, "x"))
    assert (failure.kind, failure.http_status[:3], failure.socks_code) == (kind, status, code)


def test_every_kind_is_known_to_both_protocols() -> None:
    assert set(KINDS) == set(HTTP_STATUS) == set(SOCKS_CODE)
    assert RequestFailed(KINDS[0], "x", socks_code=8, http_status="431 x").socks_code == 8
