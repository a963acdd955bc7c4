"""What a supervisor makes at its start for the API of dashboards; aiohttp is loaded for the first client."""

from collections.abc import Sequence
from typing import Any, Final  # Any: aiohttp's

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.listening import Listening
from tunproxy.control.clash.state_files import StateFiles
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.measuring import measure
from tunproxy.control.questions import Questions
from tunproxy.control.reload import Reloader

MAX_BODY: Final = 2 << 20  # octets: more than anybody may store


class Clash:
    """tun is the device's name; listening is the TCP port, None for none."""

    def __init__(
        self,
        workers: Sequence[Questions],
        reloader: Reloader,
        wishes: Wishes,
        tun: str,
        state: StateFiles | None = None,
        listening: Listening | None = None,
    ) -> None:
        self.listening: Final = listening
        self._asking: Final = Asking(workers)
        self._reloader: Final = reloader
        self._wishes: Final = wishes
        self._state: Final = state or StateFiles(None)
        self._tun: Final = tun

    async def measures(self) -> dict[str, Any]:
        """Return what workers measure, for Prometheus."""
        return await measure(self._asking)

    def application(self) -> Any:
        """Return a new aiohttp application that knows who may ask what."""
        from aiohttp import web

        from tunproxy.control.clash.app import add_handlers
        from tunproxy.control.clash.guard import Guard
        from tunproxy.control.clash.large_answers import LargeAnswers

        guard = Guard(self.listening.access if self.listening is not None else None)
        middlewares = [LargeAnswers().middleware, guard.middleware]
        app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
        app.on_response_prepare.append(guard.add_headers)
        add_handlers(app, self._asking, self._reloader, self._wishes, self._state, self._tun, self.listening)
        return app
