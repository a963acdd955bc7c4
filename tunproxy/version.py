"""Which tunproxy this is: its version, and whether the packet path runs compiled."""

import platform
from importlib import metadata

from tunproxy import clock


def version() -> str:
    """Return the installed version, or ``0+tree`` where nothing was ever installed."""
    try:
        return metadata.version("tunproxy")
    except metadata.PackageNotFoundError:
        return "0+tree"


def is_compiled() -> bool:
    """Return whether the packet path is machine code; it is compiled as a whole or not at all."""
    return not str(clock.__file__).endswith(".py")


def describe() -> str:
    """Return one line for users: ``tunproxy 0.1.0 (compiled, Python 3.11.7, Linux 6.18)``."""
    mode = "compiled" if is_compiled() else "uncompiled"
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"tunproxy {version()} ({mode}, Python {platform.python_version()}, {platform.system()} {kernel})"
