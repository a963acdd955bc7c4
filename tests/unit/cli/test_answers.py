"""Answers of a tunproxy of another version."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunproxy.cli import main
from tunproxy.cli.answers import in_words
from tunproxy.control import client
from tunproxy.control.endpoint import ALIVE, Found
from tunproxy.errors import TunproxyError


def test_document_is_described() -> None:
    assert in_words(lambda document: f"it is {document['is']}", {"is": "well"}, Path("x")) == "it is well"


@pytest.mark.parametrize("describe", [lambda document: document["x"], lambda document: document.x])
def test_document_that_is_not_understood_is_told_with_its_place(describe: Callable[[Any], str]) -> None:
    with pytest.raises(TunproxyError, match=r"^cannot show what /run/x\.sock answers: this version does not"):
        in_words(describe, {}, Path("/run/x.sock"))


@pytest.mark.parametrize("command", ["status", "flows", "explain --flow 1", "explain a.example:1"])
@pytest.mark.parametrize("document", [{}, {"flows": 5, "by": ""}, {"name": None, "flows": [{}]}])
def test_commands_show_no_traceback(
    command: str,
    document: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(client, "choose", lambda *_: Found(Path("/run/x.sock"), ALIVE, 1))
    monkeypatch.setattr(client, "_ask", lambda *_: document)
    assert main.run(command.split()) == 2
    said = capfd.readouterr().err
    assert said.startswith("tunproxy: cannot show what ")
    assert said.endswith(
        "answers: this version does not understand it (is another one running? --json shows it)\n"
    )
    assert main.run([*command.split(), "--json"]) == 0
