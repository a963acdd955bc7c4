"""Choices, which stay, and tests of ways."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.unit.control.clash.rig import TEST_URL, Rig, talk
from tunproxy.upstream.base import OpenError

URL = quote(TEST_URL, safe="")
FB = quote("FB/\U0001f600 x", safe="")


def test_choice_is_made_in_every_worker_and_kept(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        await rig.ask("PUT", "/proxies/Sel", {"name": "hp"})
        await rig.ask("PUT", f"/proxies/{FB}", {"name": "hp"})
        for worker in rig.workers:
            assert worker.flow("a.example", 80).verdict.upstream == "hp"
        assert (await rig.get("/proxies/Sel"))["now"] == "hp"
        assert (await rig.get(f"/proxies/{FB}"))["fixed"] == "hp"
        assert rig.wishes.choices == {"Sel": "hp", "FB/\U0001f600 x": "hp"} == rig.state.choices()
        await rig.ask("DELETE", f"/proxies/{FB}")
        assert (await rig.get(f"/proxies/{FB}"))["fixed"] == ""
        await rig.ask("PUT", "/proxies/Sel", {"name": "DIRECT"})
        assert rig.state.choices() == {"Sel": "DIRECT"}
        assert rig.worker.flow("a.example", 80).verdict.upstream == "direct"
        assert (await rig.get("/proxies/Sel"))["now"] == "DIRECT"
        await rig.ask("DELETE", "/proxies/Sel", status=400)
        await rig.ask("DELETE", "/proxies/nope", status=404)

    talk(tmp_path, conversation, workers=2)


def test_pinned_member_takes_flows_as_long_as_it_is_well(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        rig.worker.delays = {"s5": 1, "hp": 100}
        await rig.ask("GET", "/providers/proxies/Auto/healthcheck")
        assert rig.worker.flow("", 80).verdict.upstream == "s5"
        await rig.ask("PUT", "/proxies/Auto", {"name": "hp"})
        assert rig.worker.flow("", 80).verdict.upstream == "hp"
        del rig.worker.delays["hp"]
        await rig.get(f"/proxies/hp/delay?url={URL}&timeout=10000", 503)
        assert rig.worker.flow("", 80).verdict.upstream == "s5"
        found = await rig.get("/proxies/Auto")
        assert (found["fixed"], found["now"]) == ("hp", "s5")
        assert (await rig.get("/proxies/hp"))["alive"] is False

    talk(tmp_path, conversation)


def test_delay_is_of_what_a_group_uses_now(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        rig.worker.delays = {"s5": 5, "direct": 3}
        assert await rig.get("/proxies/Sel/delay?timeout=10000") == {"delay": 5}
        assert await rig.get(f"/group/Sel/delay?url={URL}&timeout=10000") == {"s5": 5, "Auto": 5, "DIRECT": 3}
        await rig.get("/proxies/REJECT/delay?timeout=10000", 503)
        for wrong in ("x", "-1", "0", "", "1e9", "99999999999"):
            await rig.get(f"/proxies/s5/delay?timeout={wrong}", 400)
        await rig.get("/proxies/nope/delay?timeout=10000", 404)
        assert set(rig.worker.fetched) <= {TEST_URL, "http://www.gstatic.com/generate_204"}

    talk(tmp_path, conversation)


def test_answer_of_another_status_than_expected_has_failed(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        asked: list[Any] = []

        async def answer_204(upstream: Any, url: str, dialer: Any, expected: int | frozenset[int]) -> float:
            asked.append(expected)
            if expected and 204 not in (expected if isinstance(expected, frozenset) else {expected}):
                raise OpenError("the answer has status 204")
            return 0.003

        rig.worker.health._fetch = answer_204  # type: ignore[misc]
        query = f"url={URL}&timeout=10000&expected="
        assert await rig.get(f"/proxies/s5/delay?{query}200-299") == {"delay": 3}
        await rig.get(f"/proxies/s5/delay?{query}200-203", 503)
        assert await rig.get(f"/proxies/s5/delay?{query}*") == {"delay": 3}
        assert await rig.get(f"/group/Auto/delay?{query}204") == {"s5": 3, "hp": 3}
        await rig.get(f"/group/Auto/delay?{query}200%2F301", 504)
        await rig.get(f"/proxies/s5/delay?{query}sure", 400)
        assert asked[0] == frozenset(range(200, 300))
        assert asked[2] == 0  # what the groups want that test with this URL

    talk(tmp_path, conversation)


def test_test_that_takes_too_long_is_a_timeout(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        import asyncio
        from typing import Any

        async def never(*_: Any) -> float:
            await asyncio.sleep(60)
            return 0.0

        rig.worker.health._fetch = never  # type: ignore[misc]
        assert await rig.get("/proxies/s5/delay?timeout=20", 504) == {"message": "Timeout"}
        assert (await rig.get("/version"))["meta"] is True

    talk(tmp_path, conversation)


def test_what_is_no_way_fails_its_test_and_nobody_else_s(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        rig.worker.delays = {"s5": 12}
        await rig.ask("GET", "/providers/proxies/default/healthcheck")
        record = (await rig.get("/proxies/s5"))["extra"]["http://www.gstatic.com/generate_204"]
        assert [test["delay"] for test in record["history"]] == [12]
        for name in ("PASS", "PASS-RULE", "REJECT"):
            failed = await rig.get(f"/proxies/{name}/delay?url={URL}&timeout=10000", 503)
            assert failed == {"message": "An error occurred in the delay test"}

    talk(tmp_path, conversation)


def test_provider_that_there_is_not(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        for path in (
            "nope", "nope/healthcheck", "nope/x", "nope/s5/healthcheck", "Auto/nope", "Auto/nope/healthcheck",
            "Auto/DIRECT/healthcheck", "GLOBAL",
        ):  # fmt: skip
            await rig.get(f"/providers/proxies/{path}", 404)
        await rig.ask("PUT", "/providers/proxies/nope", status=404)

    talk(tmp_path, conversation)
