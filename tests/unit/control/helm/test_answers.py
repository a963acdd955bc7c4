"""All answers together: every question of the supervisor has one."""

import re
from pathlib import Path

from tests.unit.control.clash.rig import Rig, talk

ROOT = Path(__file__).resolve().parents[4]


def test_every_question_has_an_answer(tmp_path: Path) -> None:
    control = ROOT / "tunproxy" / "control"
    asked = {
        name
        for path in [*(control / "clash").glob("*.py"), control / "measuring.py"]
        for name in re.findall(r'"(helm-[a-z]+)"', path.read_text())
    }

    async def conversation(rig: Rig) -> None:
        assert asked == set(rig.worker.helm.answers())

    talk(tmp_path, conversation)


def test_totals_leave_out_what_stands_in_front_of_packets(tmp_path: Path) -> None:
    async def conversation(rig: Rig) -> None:
        counters = rig.worker.counters
        counters.frames_in, counters.bytes_in = 3, 3 * 10 + 500
        found = await rig.get("/connections")
        assert (found["uploadTotal"], found["downloadTotal"]) == (500, 0)
        assert found["memory"] > 1 << 20

    talk(tmp_path, conversation)
