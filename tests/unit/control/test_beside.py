"""Work beside something else: it goes on as long as that, and has ended when that has."""

import asyncio

import pytest

from tunproxy.control.beside import beside


def test_works_go_on_within_the_context_and_have_ended_behind_it() -> None:
    said: list[str] = []

    async def work(name: str) -> None:
        said.append(f"{name} begins")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # it takes its time
            said.append(f"{name} ends")

    async def both() -> None:
        async with beside(work("a"), work("b")):
            await asyncio.sleep(0)
            said.append("within")
        said.append("behind")

    asyncio.run(both())
    assert said == ["a begins", "b begins", "within", "a ends", "b ends", "behind"]


def test_work_that_fails_ends_nothing_else() -> None:
    async def fail() -> None:
        raise OSError("no reason")

    async def both() -> str:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        async with beside(fail(), asyncio.sleep(60)):
            await asyncio.sleep(0.01)
            return "it went on"

    assert asyncio.run(both()) == "it went on"


def test_error_within_ends_the_works_as_well() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def both() -> None:
        async with beside(work()):
            await asyncio.sleep(0)
            raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        asyncio.run(both())
    assert ended == [True]
