"""Builders of generations, and of stores that have some."""

import time
from collections.abc import Mapping
from pathlib import Path

from tunproxy.control.generations.contents import CONFIG, RULES, FileState
from tunproxy.control.generations.record import HEALTHY, Generation
from tunproxy.control.generations.store import Store

CONFIG_PATH = "/etc/tunproxy/tunproxy.toml"
RULES_PATH = "/etc/tunproxy/home.rules"


def contents(config: bytes = b"", **rules: bytes) -> dict[str, FileState]:
    """Return a configuration, and files of rules beside it by the names before .rules."""
    found = {CONFIG_PATH: FileState(CONFIG, config)}
    for name, data in rules.items():
        found[f"/etc/tunproxy/{name}.rules"] = FileState(RULES, data)
    return found


def blank(state: str = HEALTHY, **fields: object) -> Generation:
    """Return a generation that is yet to be kept."""
    values: dict[str, object] = {
        "number": 0, "at": time.time(), "by": "save", "change": "", "state": state, "config": CONFIG_PATH,
        **fields,
    }  # fmt: skip
    return Generation(**values)  # type: ignore[arg-type]


def keep(
    store: Store, data: bytes | Mapping[str, FileState], state: str = HEALTHY, **fields: object
) -> Generation:
    """Keep one with this configuration, or these contents."""
    what = contents(data) if isinstance(data, bytes) else data
    return store.add(blank(state, **fields), what)


def store_in(folder: Path) -> Store:
    return Store(folder / "generations" / "tun0")
