"""Captures over the control socket, and over that alone: whoever may connect there sees all that passes.

    GET    /capture         a pcapng file, as long as the client takes it; ?filter=…
                            &snaplen=N&count=N (packets)&seconds=S&size=N (octets)
    GET    /captures        those that run
    DELETE /captures/N      ends one, whose file is finished then

The answer to the first has the number of the capture in ``X-Capture``. What is wrong is said in ``error``.
"""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any: aiohttp's

from tunproxy.control.flow_filter import parse_filter
from tunproxy.control.packets.arrivals import RefusedError
from tunproxy.control.packets.blocks import Wish
from tunproxy.control.packets.merging import Merger
from tunproxy.control.packets.shipping import MAX_SNAPLEN
from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.errors import ConfigError, TunproxyError

NUMBER: Final = "X-Capture"
CONTENT_TYPE: Final = "application/x-pcapng"
MOST: Final = 8  # our choice: captures at a time
_NUMBERS: Final = {"snaplen": (1, MAX_SNAPLEN), "count": (1, 1 << 50), "size": (1, 1 << 50)}


class PacketService:
    """All captures of one supervisor."""

    def __init__(self, workers: Sequence[Questions]) -> None:
        self._workers: Final = workers
        self._running: Final[dict[int, Merger]] = {}
        self._numbers: Final = itertools.count(1)

    def add_to(self, router: Any) -> None:
        """Add the handlers to an aiohttp router."""
        router.add_get("/capture", self._capture)
        router.add_get("/captures", self._list)
        router.add_delete("/captures/{number}", self._end)

    async def _capture(self, request: Any) -> Any:
        from aiohttp import web

        refusal = _refusal_of(request)
        if refusal is not None:
            return refusal
        try:
            wish = wish_of(request.query)
            if len(self._running) >= MOST:
                raise RefusedError(f"{MOST} captures are running (end one)")
        except TunproxyError as error:
            return web.json_response({"error": str(error)}, status=400)
        number = next(self._numbers)
        merger = self._running[number] = Merger(self._workers, wish)
        try:
            try:
                await merger.open()
            except (RefusedError, NoAnswerError) as error:
                return web.json_response({"error": str(error)}, status=503)
            response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE, NUMBER: str(number)})
            response.enable_chunked_encoding()
            await response.prepare(request)
            try:
                async with contextlib.aclosing(merger.blocks(lambda: _is_there(request))) as blocks:
                    async for portion in blocks:
                        await response.write(portion)
                await response.write_eof()
            except ConnectionError:
                pass  # the client has gone
            return response
        finally:
            await merger.close()
            del self._running[number]

    async def _list(self, request: Any) -> Any:
        from aiohttp import web

        running = [{"number": number, **each.document()} for number, each in self._running.items()]
        return _refusal_of(request) or web.json_response({"captures": running})

    async def _end(self, request: Any) -> Any:
        from aiohttp import web

        refusal = _refusal_of(request)
        if refusal is not None:
            return refusal
        text = request.match_info["number"]
        merger = (
            self._running.get(int(text)) if text.isascii() and text.isdigit() and len(text) < 19 else None
        )
        if merger is None:
            return web.json_response({"error": f"there is no capture {text!r}"}, status=404)
        merger.end()
        return web.json_response({"ended": int(text)})


def wish_of(query: Mapping[str, str]) -> Wish:
    """Return what a query asks for; raises ConfigError."""
    found: dict[str, int] = {}
    for key, (least, most) in _NUMBERS.items():
        text = query.get(key)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) < 17 and least <= int(text) <= most):
            raise ConfigError(f"cannot capture with {key} {text!r}: no number from {least} to {most}")
        found[key] = int(text)
    try:
        seconds = float(query.get("seconds", "0"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise ConfigError(f"cannot capture for {query.get('seconds')!r} seconds: no number from 0 to 1e9")
    return Wish(parse_filter(query.get("filter", "")).text, seconds=seconds, **found)


def _refusal_of(request: Any) -> Any:
    """Return the answer for who comes over TCP; None for who may ask."""
    from aiohttp import web

    from tunproxy.control.clash.guard import is_tcp

    if is_tcp(request):
        return web.json_response({"error": "packets are for the control socket alone"}, status=403)
    return None


def _is_there(request: Any) -> bool:
    return request.transport is not None and not request.transport.is_closing()
