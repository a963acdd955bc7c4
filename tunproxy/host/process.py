"""What /proc tells of one process, in the terms in which people think of programs.

A process runs in a control group, and the path of that says what started it: systemd names its units there,
Flatpak and Snap their apps, container engines their containers.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tunproxy.errors import SystemChangeError
from tunproxy.host.containers import app_of, app_of_process, container_name, container_of

_UNIT: Final = re.compile(r"\.(service|scope|socket|mount|swap)$")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that owns a flow; what could not be found out is None, and why says why.

    name is that of the program's file, or what the kernel calls the process, cut to 15 letters, where
    the file must not be seen. argv0 is how it was called. cgroup is the path below the hierarchy's root,
    unit and slice are systemd's innermost ones in it. app is Flatpak's or Snap's name for the program,
    container the id or the name of the container that it runs in, container_name in any case the name.
    """

    uid: int = -1
    pid: int = -1
    name: str | None = None
    path: str | None = None
    argv0: str | None = None
    cgroup: str | None = None
    unit: str | None = None
    slice: str | None = None
    app: str | None = None
    container: str | None = None
    container_name: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """What the path of a control group says."""

    unit: str | None = None
    slice: str | None = None
    app: str | None = None
    container: str | None = None


def describe_process(pid: int, uid: int, proc: Path = Path("/proc")) -> Process:
    """Return what there is to know of a process; uid is its socket's user. Never raises."""
    folder = proc / str(pid)
    path, why = _program(folder)
    kernel_name = _first_line(folder / "comm")
    if kernel_name is None:
        return Process(uid=uid, pid=pid, why="the process has ended")
    cgroup = _control_group(folder)
    group = read_group(cgroup) if cgroup is not None else Group()
    name = os.path.basename(path) if path else kernel_name
    container = group.container
    return Process(
        uid=uid,
        pid=pid,
        name=name,
        path=path,
        argv0=_called(folder),
        cgroup=cgroup,
        unit=group.unit,
        slice=group.slice,
        app=group.app or app_of_process(folder),
        container=container,
        container_name=container_name(container) if container is not None else None,
        why=why,
    )


def read_group(path: str) -> Group:
    """Return what the path of a control group says."""
    unit = slice_ = app = None
    for part in path.split("/"):
        if part.endswith(".slice"):
            slice_ = part
        elif _UNIT.search(part):
            unit = part
            app = app_of(part) or app
    return Group(unit, slice_, app, container_of(path))


def find_by_command(name: str, proc: Path = Path("/proc")) -> int | None:
    """Return the youngest process whose program or pid is name, None where there is none."""
    if name.isdecimal() and (proc / name).is_dir():
        return int(name)
    for pid in pids(proc):
        path, _ = _program(proc / str(pid))
        found = os.path.basename(path) if path else _first_line(proc / str(pid) / "comm")
        if found == name or (path is not None and path == name):
            return pid
    return None


def pids(proc: Path = Path("/proc")) -> list[int]:
    """Return all processes, the highest number first, which is mostly the youngest.

    Raises SystemChangeError where there is no /proc.
    """
    try:
        return sorted((int(entry) for entry in os.listdir(proc) if entry.isdecimal()), reverse=True)
    except OSError as error:
        raise SystemChangeError(f"cannot read {proc}: {(error.strerror or str(error)).lower()}") from error


def _program(folder: Path) -> tuple[str | None, str]:
    """Return the path of a process's file, and if it is unknown, why."""
    try:
        path = os.readlink(folder / "exe")
    except PermissionError:
        return None, "another user's programs must not be looked at (needs CAP_SYS_PTRACE)"
    except FileNotFoundError:
        return None, "it is a thread of the kernel, or has ended"
    except OSError as error:
        return None, (error.strerror or str(error)).lower()
    return path.removesuffix(" (deleted)"), ""


def _called(folder: Path) -> str | None:
    try:
        with open(folder / "cmdline", "rb") as file:
            return file.read(4096).split(b"\0", 1)[0].decode(errors="replace") or None
    except OSError:
        return None


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").rstrip("\n")
    except OSError:
        return None


def _control_group(folder: Path) -> str | None:
    """Return the path in the unified hierarchy, or in systemd's own where that is the one in use."""
    text = _first_line(folder / "cgroup")
    if text is None:
        return None
    paths: dict[str, str] = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths["" if number == "0" else controllers] = path
    unified, named = paths.get(""), paths.get("name=systemd")
    return named if named is not None and unified in (None, "/") else unified
