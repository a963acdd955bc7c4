"""The hooks are declared with a type and an explanation, and documented as they are."""

import inspect
import re
from pathlib import Path

import pytest

from tunproxy.plugin import hookspecs

DOCS = Path(__file__).resolve().parents[3] / "docs" / "plugin-authors.md"
HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if hasattr(function, f"{hookspecs.PROJECT}_spec")
}


def signature_of(name: str) -> str:
    """Return a hook's signature as its source has it, on one line."""
    source = inspect.getsource(HOOKS[name])
    found = re.search(r"def .*?(?=:\n)", source, re.S)
    assert found
    return " ".join(found[0].split())


def documented_signatures() -> list[str]:
    """Return all signatures in the headings' code blocks of the page for authors."""
    return re.findall(r"^### `(def .*)`$", DOCS.read_text(), re.M)


def test_page_for_authors_shows_every_hook_with_its_signature() -> None:
    assert documented_signatures() == [signature_of(name) for name in HOOKS]


@pytest.mark.parametrize("name", HOOKS)
def test_hook_says_when_it_is_called_and_what_a_failure_does(name: str) -> None:
    text = inspect.getdoc(HOOKS[name]) or ""
    assert "Called once" in text
    assert "A plugin that raises" in text


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_fully_typed(name: str) -> None:
    signature = inspect.signature(HOOKS[name])
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(each.annotation is not each.empty for each in signature.parameters.values())
