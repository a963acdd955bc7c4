"""Where the ring of finished flows is: in the state folder of whoever runs tunproxy."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tunproxy.control.naming import SYSTEM_STATE, state_folder
from tunproxy.errors import ConfigError, TunproxyError

FILE: Final = "history.sqlite"
ASIDE: Final = ".broken"  # behind the name of a file that could not be read


class StoreError(TunproxyError):
    """The ring cannot be written now; that may pass."""


def ring_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where to record."""
    return state_folder(environment) / FILE


def find_ring(
    named: str = "", environment: Mapping[str, str] = os.environ, system: Path = SYSTEM_STATE
) -> Path:
    """Return the ring to look at: the named one, or ours, or the service's; of two the one written last.

    Raises ConfigError where there is none.
    """
    if named:
        if not os.path.lexists(named):
            raise ConfigError(f"cannot read {named}: there is no such file")
        return Path(named)
    places = list(dict.fromkeys((ring_path(environment), system / FILE)))
    found = [(_written(path), path) for path in places]
    newest, path = max(found, key=lambda each: each[0])
    if newest < 0:
        raise ConfigError(
            f"nothing was recorded: there is no {places[0]} (write enabled = true into [history] of "
            "tunproxy.toml; of an up that root has started: sudo; --file names another place)"
        )
    return path


def _written(path: Path) -> float:
    """Return when a ring was written last, -1 where there is none; what nobody may look at is there."""
    newest = -1.0
    for name in (path, path.with_name(f"{path.name}-wal")):
        try:
            newest = max(newest, name.stat().st_mtime)
        except PermissionError:
            newest = max(newest, 0.0)
        except OSError:
            continue
    return newest
