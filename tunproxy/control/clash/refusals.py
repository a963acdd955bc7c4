"""Answers in the form that dashboards expect: what is wrong as ``message``, success without words as 204."""

from typing import Any, Final  # Any: what JSON can say

import msgspec
from aiohttp import web

JSON: Final = "application/json"


class Refusal(Exception):
    """An answer with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: Final = status
        self.message: Final = message


BODY_INVALID: Final = "Body invalid"
NOT_FOUND: Final = "Resource not found"


def not_found() -> Refusal:
    """Return what is said of names that there are not."""
    return Refusal(404, NOT_FOUND)


def body_invalid() -> Refusal:
    """Return what is said of requests that cannot be understood."""
    return Refusal(400, BODY_INVALID)


def answer(document: Any, status: int = 200) -> web.Response:
    """Return an answer with a document."""
    return web.Response(body=msgspec.json.encode(document), status=status, content_type=JSON)


def refused(refusal: Refusal) -> web.Response:
    """Return an answer that refuses."""
    return answer({"message": refusal.message}, refusal.status)


def done() -> web.Response:
    """Return the answer to what was done."""
    return web.Response(status=204)


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the object in a request's body, an empty one for none; raises Refusal."""
    data = await request.read()
    if not data.strip():
        return {}
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise body_invalid() from None
    if not isinstance(found, dict):
        raise body_invalid()
    return found
