"""What is asked of tunproxy: an answer in words, whatever happens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tunproxy.cli.top import asking
from tunproxy.errors import TunproxyError

PATH = Path("/run/tun0.sock")


@pytest.mark.parametrize(("count", "expected"), [(0, "it was over already"), (1234, "1,234 closed")])
def test_end_says_how_many_it_were(count: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "end_flows", lambda path, ids: count)
    assert asking.end(PATH, ["id-1"]) == expected


def test_refusals_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise TunproxyError("cannot ask: permission denied")

    monkeypatch.setattr(asking, "end_flows", refuse)
    monkeypatch.setattr(asking, "fetch_flow", refuse)
    assert asking.end(PATH, ["id-1"]) == asking.why(PATH, 1) == "cannot ask: permission denied"


def test_answer_of_another_version_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(path: Path, number: int) -> Mapping[str, Any]:
        return {"number": number, "info": 7}

    monkeypatch.setattr(asking, "fetch_flow", fetch)
    assert asking.why(PATH, 1) == asking.STRANGE
