"""Where the configuration is, if nobody says: the user's own, then the system's."""

import os
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

FILE: Final = "tunproxy.toml"
SYSTEM: Final = Path("/etc/tunproxy")


def places(environment: Mapping[str, str]) -> list[Path]:
    """Return where a configuration is looked for, in order.

    ``$XDG_CONFIG_HOME/tunproxy``, or ``~/.config/tunproxy`` unless that is set to an absolute path
    (XDG Base Directory Specification), then ``/etc/tunproxy``.
    """
    home = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):
        home = os.path.join(environment.get("HOME", ""), ".config")
    found = [Path(home, "tunproxy", FILE)] if os.path.isabs(home) else []
    return [*found, SYSTEM / FILE]


def find_config(environment: Mapping[str, str]) -> Path | None:
    """Return the first configuration that is there, None without any.

    One that cannot be looked at counts as there: what it says must not be passed over in silence.
    """
    for path in places(environment):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return path
        return path
    return None


def _home_of(uid: int) -> str:
    return pwd.getpwuid(uid).pw_dir


def passed_over(environment: Mapping[str, str], home_of: Callable[[int], str] = _home_of) -> str:
    """Return, in words, which configuration of whoever has called sudo is not read; "" for none.

    It is for where nothing was found: root's own is looked for, and who does not know that wonders why
    nothing of what he wrote is in force. home_of raises KeyError for a user that there is not.
    """
    told = environment.get("SUDO_UID", "")
    if not told.isascii() or not told.isdigit() or find_config(environment) is not None:
        return ""
    try:
        path = Path(home_of(int(told)), ".config", "tunproxy", FILE)
        if not path.is_file():
            return ""
    except (KeyError, OverflowError, OSError):
        return ""
    return f"{path} is not read, as this runs as another user (--config {path}, or put it into {SYSTEM})"
