"""What dashboards store."""

from pathlib import Path

from tests.unit.control.clash.rig import Rig, talk
from tests.unit.control.clash.shapes import body
from tunproxy.control.clash.state_files import StateFiles


def test_values_come_back_and_stay(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        assert await rig.get("/storage/zashboard") is None
        await rig.ask("PUT", "/storage/zashboard", {"a": 1})
        assert await rig.get("/storage/zashboard") == body("GET storage after")
        await rig.ask("PUT", "/storage/list", [1, "x", None])
        await rig.ask("DELETE", "/storage/list")
        await rig.ask("DELETE", "/storage/list")
        assert await rig.get("/storage/list") is None
        assert StateFiles(rig.folder / "state").dashboards() == {"zashboard": {"a": 1}}

    talk(tmp_path, conversation)


def test_there_is_an_end_to_it(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        async with rig.client.put("/storage/x", data=b'"' + b"x" * (1 << 20) + b'"') as answer:
            assert answer.status == 413
        async with rig.client.put("/storage/x", data=b'{"a":') as answer:
            assert (answer.status, await answer.json()) == (400, {"message": "Body invalid"})
        for number in range(8):
            await rig.ask("PUT", f"/storage/{number}", number)
        assert "8 keys are kept" in (await rig.ask("PUT", "/storage/9", 9, 507))["message"]
        await rig.ask("PUT", "/storage/7", 77)
        await rig.ask("PUT", f"/storage/{'k' * 201}", 1, 507)

    talk(tmp_path, conversation)
