"""What cannot be a plugin, and what people are told about it."""

from collections.abc import AsyncIterator

import pluggy
import pytest

from tests.unit.plugin.test_manager import plugin
from tunproxy.plugin import hookspecs
from tunproxy.plugin.hook_checks import (
    COROUTINES,
    HOOKS,
    import_problem,
    refuse_coroutines,
    refuse_unknown,
    refuse_wrappers,
)
from tunproxy.plugin.hookspecs import PROJECT


def manager_with(registered: object) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(registered, "it")
    return manager


async def waits(**offered: object) -> None:
    """Do nothing, slowly."""


async def waits_and_waits() -> AsyncIterator[None]:
    yield


def test_hooks_are_in_the_order_of_their_declaration() -> None:
    assert HOOKS[0] == "contribute_options"
    assert "decide_flow" in HOOKS
    assert "hookspec" not in HOOKS


def test_hook_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    strange = plugin(paint_house=lambda: None)
    with pytest.raises(ValueError, match=r"there is no hook 'paint_house' \(there are: contribute_options, "):
        refuse_unknown(manager_with(strange), strange)
    fine = plugin(decide_flow=lambda: None)
    refuse_unknown(manager_with(fine), fine)
    refuse_wrappers(manager_with(fine), fine)
    refuse_coroutines(manager_with(fine), fine)


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("function", [waits, waits_and_waits])
def test_coroutine_is_refused_where_nobody_can_wait_for_it(name: str, function: object) -> None:
    waiting = plugin(**{name: function})
    if name in COROUTINES:
        refuse_coroutines(manager_with(waiting), waiting)
        return
    words = rf"^{name} is a coroutine \(write def; these may be one: decide_flow, flow_opened, flow_closed\)"
    with pytest.raises(TypeError, match=words):
        refuse_coroutines(manager_with(waiting), waiting)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SyntaxError("invalid syntax", ("a.py", 3, 7, "x = (")), "a.py:3:7: invalid syntax"),
        (ModuleNotFoundError("No module named 'yaml.x'", name="yaml.x"),
         "ModuleNotFoundError: No module named 'yaml.x' (it needs yaml, which is not installed)"),
        (ModuleNotFoundError("No module named 'tunproxy.x'", name="tunproxy.x"),
         "ModuleNotFoundError: No module named 'tunproxy.x'"),
        (RuntimeError("of two\n  lines"), "RuntimeError: of two lines"),
    ],
)  # fmt: skip
def test_import_that_fails_is_one_line(error: BaseException, words: str) -> None:
    assert import_problem(error) == words
