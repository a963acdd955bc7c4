"""Whose mistake it is, in words: what the code of a plugin raised, and which line of its own led there."""

import inspect
import os


def failure(error: BaseException, file: str) -> str:
    """Return, in one line, what a plugin raised, and the last line of file, its source, that led there."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{text} ({os.path.basename(file)}:{line})" if line else text


def source_of(function: object) -> str:
    """Return the file that a function of a plugin's is from, as tracebacks name it; "" where that is none."""
    called = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]  # of a class
    code = getattr(inspect.unwrap(called) if callable(called) else called, "__code__", None)
    return str(getattr(code, "co_filename", ""))
