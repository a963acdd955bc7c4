"""Containers and sandboxed apps: what the kernel's traces of a process say of the box that it runs in.

Engines put the id of a container into the path of its control group, and keep its name in files of their own,
which root may read. Flatpak and Snap are told by the control group as well; where it says nothing, because
D-Bus or a shell has started the program, by a file in a Flatpak's root, and by AppArmor's label of a Snap.
"""

import functools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final  # Any: other programs' JSON

_ESCAPED: Final = re.compile(r"\\x([0-9a-f]{2})")  # systemd.unit(5), "String escaping"
_FLATPAK: Final = re.compile(r"app-flatpak-(.+)-\d+\.scope")
_SNAP: Final = re.compile(
    r"snap\.([a-z0-9-]+)\.([A-Za-z0-9-]+?)(?:[-.][0-9a-f]{8}(?:-[0-9a-f]{4,12}){4})?\.(?:scope|service)"
)
_SNAP_LABEL: Final = re.compile(r"snap\.([a-z0-9_-]+)\.([A-Za-z0-9-]+) \(")  # snapd's profiles
_CONTAINER: Final = re.compile(r"(?:^|[-/])([0-9a-f]{64})(?:\.scope)?(?:/|$)")
_MONITOR: Final = re.compile(r"/libpod-conmon-[0-9a-f]{64}\.scope(?:/|$)")  # podman's watcher, outside of it
_NAMED: Final = re.compile(
    r"(?:^|/)(?:lxc\.payload\.|lxc/|machine-|systemd-nspawn@)([^/]+?)(?:\.scope|\.service)?(?:/|$)"
)

# our choices
MAX_FILE: Final = 4 << 20  # octets of an engine's file
MAX_LABEL: Final = 512
MAX_INFO: Final = 64 << 10

# Below these, each container has a folder of its id with its configuration; the other is one list for all.
_DOCKER: Final = ("var/lib/docker/containers", "var/snap/docker/common/var-lib-docker/containers")
_PODMAN: Final = "containers/storage/overlay-containers/containers.json"


def unescaped(unit: str) -> str:
    """Return the name of a unit as it was before systemd escaped it."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), unit)


def container_of(cgroup: str) -> str | None:
    """Return the id or the name of the container that a control group is of, None for none."""
    if _MONITOR.search(cgroup):
        return None
    found = _CONTAINER.search(cgroup) or _NAMED.search(cgroup)
    return unescaped(found[1]) if found else None


def container_name(container: str, root: Path = Path("/")) -> str | None:
    """Return the name that a container's engine has given to this id, None where it cannot be found out."""
    if len(container) != 64:
        return container
    for folder in _DOCKER:
        found = _json(root / folder / container / "config.v2.json")
        if isinstance(found, dict) and isinstance(found.get("Name"), str):
            return str(found["Name"]).removeprefix("/") or None
    shares = [home / ".local/share" for home in _homes(root)]  # of users with containers of their own
    for place in (root / "var/lib", *shares):
        try:
            found_at = os.stat(place / _PODMAN)
        except OSError:
            continue
        names = _podman_names(place / _PODMAN, found_at.st_mtime_ns, found_at.st_size)
        if container in names:
            return names[container]
    return None


def app_of(unit: str) -> str | None:
    """Return Flatpak's or Snap's name for the program that a unit is of; None for any other unit."""
    plain = unescaped(unit)
    flatpak = _FLATPAK.fullmatch(plain)
    if flatpak is not None:
        return flatpak[1]
    snap = _SNAP.fullmatch(plain)
    return _snap(snap[1], snap[2]) if snap is not None else None


def app_of_process(folder: Path) -> str | None:
    """Return the same for a process, by its folder in /proc, where its control group does not tell."""
    info = _read(folder / "root" / ".flatpak-info", MAX_INFO)  # flatpak-metadata(5)
    if info is not None:
        section = ""
        for line in info.splitlines():
            if line.startswith("["):
                section = line.strip()
            elif section in ("[Application]", "[Runtime]") and line.startswith("name="):
                return line.removeprefix("name=").strip() or None
    label = _read(folder / "attr" / "current", MAX_LABEL)
    snap = _SNAP_LABEL.match(label) if label else None
    return _snap(snap[1], snap[2]) if snap is not None else None


@functools.lru_cache(maxsize=8)
def _podman_names(path: Path, modified: int, size: int) -> dict[str, str]:
    """Return what podman's list has, by id; the same file is not read twice."""
    listed = _json(path)
    found: dict[str, str] = {}
    for each in listed if isinstance(listed, list) else ():
        names = each.get("names") if isinstance(each, dict) else None
        if isinstance(names, list) and names:
            found[str(each.get("id"))] = str(names[0])
    return found


def _snap(name: str, app: str) -> str:
    return name if name == app else f"{name}.{app}"


def _homes(root: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(root / "home"))
    except OSError:
        names = []
    yield from (root / "home" / name for name in names)
    yield root / "root"


def _json(path: Path) -> Any:
    text = _read(path, MAX_FILE)
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _read(path: Path, limit: int) -> str | None:
    """Return what a file holds, None where it is none, is too large, or may not be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    return data.decode(errors="replace") if len(data) <= limit else None
