"""What cannot be a plugin: hooks that are none, that wrap others or wait, modules that cannot be imported."""

import difflib
import inspect
import os
import traceback
from typing import Final, cast

import pluggy

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


def failure(error: BaseException, file: str) -> str:
    """Return, in one line, what a plugin raised, and the last line of file, its source, that led there."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if file and frame.filename == file
    ]
    return f"{text} ({os.path.basename(file)}:{lines[-1]})" if lines else text


def source_of(function: object) -> str:
    """Return the file that a function of a plugin's is from, as tracebacks name it; "" where that is none."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return str(getattr(code, "co_filename", ""))


def import_problem(error: BaseException, file: str = "") -> str:
    """Return, in one line, why the module in file could not be imported, and what to do where it is known."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}:{error.offset}: {error.msg}"
    missing = cast(str, getattr(error, "name", "")) if isinstance(error, ModuleNotFoundError) else ""
    if missing and not missing.startswith(("tunproxy.", "tunproxy_")):
        return f"{failure(error, '')} (it needs {missing.split('.')[0]}, which is not installed)"
    return failure(error, file)
