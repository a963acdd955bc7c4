"""Where the configuration is, if nobody says: the user's own, then the system's."""

import os
from collections.abc import Mapping
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
