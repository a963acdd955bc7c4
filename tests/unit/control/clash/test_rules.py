"""Hits as flows are decided, rules that are switched off, sets that are read again."""

from pathlib import Path

from tests.unit.control.clash.rig import TEXT, Rig, talk
from tunproxy.control.reload import ReloadError


async def hits(rig: Rig) -> list[int]:
    return [rule["extra"]["hitCount"] for rule in (await rig.get("/rules"))["rules"]]


def test_each_decision_is_a_hit(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        assert await hits(rig) == [0] * 8
        rig.worker.flow("a.example", 80)
        rig.workers[1].flow("x.b.example", 80)
        rig.worker.flow("localhost", 80)
        assert await hits(rig) == [2, 0, 0, 1, 0, 0, 0, 0]
        found = (await rig.get("/rules"))["rules"]
        assert [rule["extra"]["missCount"] for rule in found] == [1, 1, 1, 0, 0, 0, 0, 0]

    talk(tmp_path, conversation, workers=2)


def test_rule_that_is_off_is_passed_over(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        told: list[object] = []
        rig.wishes.on_change = lambda: told.append(rig.wishes.off)
        await rig.ask("PATCH", "/rules/disable", {"0": True, "6": True})
        assert (rig.wishes.off, rig.wishes.off_of) == ({0, 6}, 1)
        assert told == [{0, 6}]
        life = rig.worker.flow("a.example", 80)
        assert (life.verdict.upstream, await hits(rig)) == ("s5", [0, 0, 0, 0, 0, 0, 0, 1])
        off = [rule["extra"]["disabled"] for rule in (await rig.get("/rules"))["rules"]]
        assert off == [True, False, False, False, False, False, True, False]
        await rig.ask("PATCH", "/rules/disable", {"0": False, "6": False})
        assert rig.wishes.off == frozenset()
        assert "(line 4)" in rig.worker.flow("a.example", 80).verdict.why
        for wrong in ({"99": True}, {"-1": True}, {"x": True}, {"0": 1}, {"0": None}, {"8": True}):
            await rig.ask("PATCH", "/rules/disable", wrong, 400)
        assert not any(rule["extra"]["disabled"] for rule in (await rig.get("/rules"))["rules"])

    talk(tmp_path, conversation)


def test_rule_sets_are_read_again(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        found = (await rig.get("/providers/rules"))["providers"]["d"]
        assert (found["ruleCount"], found["vehicleType"]) == (2, "File")
        await rig.ask("PUT", "/providers/rules/nope", status=404)
        rig.reloader.error = ReloadError("no")
        assert await rig.ask("PUT", "/providers/rules/d", status=503) == {"message": "no"}

    talk(tmp_path, conversation)


def test_format_that_the_configuration_leaves_open_is_that_of_the_file(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        async def told() -> str:
            return str((await rig.get("/providers/rules"))["providers"]["d"]["format"])

        assert await told() == "TextRule"
        Path(rig.folder, "d.txt").write_text("payload:\n- a.example\n")
        assert await told() == "YamlRule"

    talk(tmp_path, conversation, text=TEXT.replace('format = "text"\n', ""))
