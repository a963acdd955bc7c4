"""Bodies that are read, and answers in one form."""

import asyncio
from typing import Any

import pytest

from tunproxy.control.clash.refusals import Refusal, answer, body_invalid, body_of, done, not_found, refused


class Request:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        return self._data


def read(data: bytes) -> dict[str, Any]:
    request: Any = Request(data)
    return asyncio.run(body_of(request))


def test_bodies() -> None:
    assert read(b"") == read(b" \n") == {}
    assert read(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b"1", b"\xff", b'{"a": ' + b"[" * 100_000])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal) as found:
        read(data)
    assert (found.value.status, found.value.message) == (400, "Body invalid")


def test_answers() -> None:
    made = answer({"a": 1})
    assert (made.status, made.body, made.content_type) == (200, b'{"a":1}', "application/json")
    assert (done().status, done().body) == (204, None)
    assert refused(not_found()).body == b'{"message":"Resource not found"}'
    assert refused(body_invalid()).status == 400
