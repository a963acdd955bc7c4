"""What cannot be a plugin: hooks that are none, that wrap others or wait, modules that cannot be imported."""

import difflib
import inspect
from typing import Final, cast

import pluggy

from tunproxy.blame import failure
from tunproxy.plugin import hookspecs
from tunproxy.plugin.hookspecs import PROJECT

HOOKS: Final = tuple(
    name for name, function in vars(hookspecs).items() if hasattr(function, f"{PROJECT}_spec")
)

COROUTINES: Final = ("decide_flow", "flow_opened", "flow_closed")  # the hooks that may be one


def refuse_unknown(manager: pluggy.PluginManager, plugin: object) -> None:
    """Raise ValueError where plugin implements a hook that there is not."""
    for caller in manager.get_hookcallers(plugin) or ():
        if not caller.has_spec():
            meant = difflib.get_close_matches(caller.name, HOOKS, n=1)
            hint = f"did you mean {meant[0]!r}?" if meant else f"there are: {', '.join(HOOKS)}"
            raise ValueError(f"there is no hook {caller.name!r} ({hint})")


def refuse_wrappers(manager: pluggy.PluginManager, plugin: object) -> None:
    """Raise TypeError where plugin wraps hooks: we call one at a time, to know whom to blame."""
    for caller in manager.get_hookcallers(plugin) or ():
        for impl in caller.get_hookimpls():
            if impl.plugin is plugin and (impl.wrapper or impl.hookwrapper):
                raise TypeError(f"{caller.name} is a wrapper (plain hooks only)")


def refuse_coroutines(manager: pluggy.PluginManager, plugin: object) -> None:
    """Raise TypeError where plugin waits in a hook that nobody can wait for."""
    for caller in manager.get_hookcallers(plugin) or ():
        for impl in caller.get_hookimpls():
            function = impl.function
            waits = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
            if impl.plugin is plugin and waits and caller.name not in COROUTINES:
                raise TypeError(
                    f"{caller.name} is a coroutine (write def; these may be one: {', '.join(COROUTINES)})"
                )


def import_problem(error: BaseException, file: str = "") -> str:
    """Return, in one line, why the module in file could not be imported, and what to do where it is known."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}:{error.offset}: {error.msg}"
    missing = cast(str, getattr(error, "name", "")) if isinstance(error, ModuleNotFoundError) else ""
    if missing and not missing.startswith(("tunproxy.", "tunproxy_")):
        return f"{failure(error, '')} (it needs {missing.split('.')[0]}, which is not installed)"
    return failure(error, file)
