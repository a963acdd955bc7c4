"""The supervisor's side of questions about flows: asks the workers, and answers what the API answers.

Whatever cannot be answered is an object with ``error``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final  # Any as the workers' JSON has it

from tunproxy.control.letters import About, ask_at_length
from tunproxy.control.packets.service import PacketService
from tunproxy.control.plugin_api import pass_on
from tunproxy.control.questions import NoAnswerError, Questions


class Inquiry:
    """Asks about flows. Of several workers the first has the plugins' API."""

    def __init__(
        self,
        workers: Sequence[Questions],
        kernel_direct: Callable[[str, int], str] = lambda address, port: "",
        left_alone: Callable[[dict[str, Any]], str] = lambda record: "",
    ) -> None:
        """kernel_direct returns which prefix of the kernel-direct lane a target is in, "" for none.

        left_alone returns why the flow of a record would not come to us, "" where it would; it may wait.
        """
        self._workers: Final = workers
        self.packets: Final = PacketService(workers)
        self._kernel_direct: Final = kernel_direct
        self._left_alone: Final = left_alone

    async def flows(self, limit: int, state: str = "") -> dict[str, Any]:
        """Return the flows that there are and were, the newest first; state is "open", "closed" or ""."""
        about = {"limit": limit, "state": state}
        asking = [_told(ask_at_length(each, "flows", about)) for each in self._workers]
        told = await asyncio.gather(*asking)
        return told[0] if len(told) == 1 else _merged(told, limit)

    async def flow(self, number: int) -> dict[str, Any]:
        """Return why a flow goes where it goes."""
        worker = self._workers[max(number - 1, 0) % len(self._workers)]  # as FlowWatcher numbers them
        return await _told(ask_at_length(worker, "flow", {"number": number}))

    async def explanation(self, question: object) -> dict[str, Any]:
        """Return why a flow would go where it would."""
        found = await self._anybody("explain", {"question": question})
        flow = found.get("flow")
        if not isinstance(flow, dict):
            return found
        prefix = self._kernel_direct(str(flow.get("target")), int(flow.get("target_port") or 0))
        if prefix:
            return {**found, "kernel_direct": prefix}
        why = await asyncio.to_thread(self._left_alone, found)
        return {**found, "left_alone": why} if why else found

    async def _anybody(self, what: str, about: About) -> dict[str, Any]:
        """Return the first answer that a worker has: all have the same policy, and know the same names."""
        why = NoAnswerError("there is no worker")
        for worker in self._workers:
            try:
                return await ask_at_length(worker, what, about)
            except NoAnswerError as error:
                why = error
        return {"error": str(why)}

    async def plugin(self, request: Any) -> Any:
        """Return a plugin's answer to an aiohttp request."""
        try:
            return await pass_on(self._workers[0], request)
        except NoAnswerError as error:
            from aiohttp import web

            return web.json_response({"error": str(error)}, status=502)


async def _told(asking: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await asking
    except NoAnswerError as error:
        return {"error": str(error)}


def _merged(told: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return the flows of several workers as if they were one's; of those that answer, if any does."""
    answers = [each for each in told if "error" not in each]
    if not answers:
        return told[0]
    rows = [row for each in answers for row in each["flows"]]
    rows.sort(key=lambda row: row["age_seconds"])
    sums = {key: sum(each[key] for each in answers) for key in ("open", "kept", "begun")}
    return {**sums, "flows": rows[:limit]}
