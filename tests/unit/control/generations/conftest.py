"""Workers of these tests have the tree's plugins."""

import pytest


@pytest.fixture(autouse=True)
def tree_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.control.generations.rig import use_tree_plugins  # not before it is known which tree

    use_tree_plugins(monkeypatch)
