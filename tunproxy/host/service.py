"""tunproxy as a service of this machine, under systemd: installed, removed, and how it is.

A package brings its own unit; whoever is installed elsewhere, in a virtual environment, has one written:

    /etc/systemd/system/tunproxy.service    the unit, with the path of the program
    /etc/sysusers.d/tunproxy.conf           the worker's user, and the group of those who may command

``systemctl`` and ``systemd-sysusers`` are how systemd is asked, as its documentation has it. What is yielded
are lines for the user, of what was done.
"""

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tunproxy.errors import ConfigError, SystemChangeError
from tunproxy.host.service_unit import ACCOUNTS, MARK, PACKAGED_PROGRAM, UNIT, packaged, unit_text

WORKER: Final = "tunproxy"  # the accounts that ACCOUNTS makes
CONTROLLERS: Final = "tunproxy-control"
TOOL_SECONDS: Final = 150.0  # our choice: more than the unit may take to start
NO_SERVICE: Final = "systemd does not run here (run tunproxy up under what does, or in a terminal)"
HIDDEN: Final = ("/tmp", "/var/tmp")  # from the service, by PrivateTmp
ASKED: Final = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "MainPID", "StatusText",
    "Result", "NRestarts", "ActiveEnterTimestamp",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """How a tool ended; said is what it complained of, or else what it put out, in one line."""

    code: int
    out: str
    said: str


Tool = Callable[[Sequence[str]], Done]


def run_tool(argv: Sequence[str]) -> Done:
    """Run a tool to its end, in the language that programs read. Raises SystemChangeError without it."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_SECONDS,
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
        )
    except subprocess.TimeoutExpired:
        raise SystemChangeError(f"cannot run {argv[0]}: no answer in {TOOL_SECONDS:g} s") from None
    except OSError as error:
        raise SystemChangeError(f"cannot run {argv[0]}: {(error.strerror or str(error)).lower()}") from error
    return Done(done.returncode, done.stdout, " ".join((done.stderr or done.stdout).split()))


class Service:
    """The service on the machine whose files are below root; tool runs programs."""

    def __init__(self, tool: Tool = run_tool, root: Path = Path("/")) -> None:
        self._tool: Final = tool
        self._booted: Final = root / "run/systemd/system"  # sd_booted(3)
        self._packaged: Final = [
            root / place / UNIT for place in ("usr/lib/systemd/system", "lib/systemd/system")
        ]
        self.unit: Final = root / "etc/systemd/system" / UNIT
        self.accounts: Final = root / "etc/sysusers.d/tunproxy.conf"

    def demand(self, what: str) -> None:
        """Raise SystemChangeError unless this is a machine, and we are somebody, to change services."""
        if not self._booted.is_dir():
            raise SystemChangeError(f"cannot {what} the service: {NO_SERVICE}")
        if os.geteuid() != 0:
            raise SystemChangeError(f"cannot {what} the service: not permitted (run as root: sudo)")

    def install(
        self, program: Sequence[str], options: Sequence[str] = (), *, now: bool = False
    ) -> Iterator[str]:
        """Have program serve this machine from its next start on, and now where that is wanted.

        Yields what was done. Raises SystemChangeError or ConfigError; what was done before is undone then.
        """
        self.demand("install")
        hidden = [place for place in HIDDEN if Path(program[0]).is_relative_to(place)]
        if hidden:
            why = f"services cannot see {program[0]} (install tunproxy elsewhere than below {hidden[0]})"
            raise SystemChangeError(f"cannot install the service: {why}")
        with contextlib.ExitStack() as undo:
            if tuple(program) == (PACKAGED_PROGRAM,) and not options and self._from_package():
                yield f"the unit is the package's: {self._from_package()}"
            else:
                yield from self._write(program, options, undo)
            undo.callback(self._tool, ["systemctl", "disable", UNIT])
            self._do("enable the service", "systemctl", "enable", UNIT)
            yield "enabled: tunproxy starts with this machine"
            if now:
                undo.callback(self._tool, ["systemctl", "stop", UNIT])
                self._do(f"start it (journalctl -u {UNIT} says more)", "systemctl", "restart", UNIT)
                yield "started: everything goes through tunproxy"
            else:
                yield f"start it now with: systemctl start {UNIT}"
            undo.pop_all()

    def uninstall(self) -> Iterator[str]:
        """Stop the service and undo what install did; yields what was done. Raises SystemChangeError."""
        self.demand("remove")
        ours = self._is_ours()
        if not ours and not self._from_package():
            yield "the service is not installed"
            return
        self._do("stop the service", "systemctl", "stop", UNIT)
        self._do("disable the service", "systemctl", "disable", UNIT)
        yield "stopped and disabled"
        if ours:
            self._tool(
                ["systemctl", "clean", "--what=state", "--what=runtime", UNIT]
            )  # nothing there: no matter
            self.unit.unlink(missing_ok=True)
            yield f"removed {self.unit}"
            self._do("have systemd read its units again", "systemctl", "daemon-reload")
            self._tool(["systemctl", "reset-failed", UNIT])  # it complains where there is nothing to forget
            yield from self._remove_accounts()
        if self._from_package():
            yield f"{self._from_package()} is the package's (remove it with: apt-get remove tunproxy)"

    def status(self) -> dict[str, str]:
        """Return what systemd says of the service, by its own names. Raises SystemChangeError."""
        if not self._booted.is_dir():
            raise SystemChangeError(f"there is no service: {NO_SERVICE}")
        shown = self._do("ask systemd", "systemctl", "show", UNIT, f"--property={','.join(ASKED)}")
        pairs = (line.partition("=") for line in shown.splitlines())
        return {key: value for key, _, value in pairs if key in ASKED}

    # the steps

    def _from_package(self) -> Path | None:
        return next((path for path in self._packaged if path.exists()), None)

    def _is_ours(self) -> bool:
        """Tell whether install has written the unit."""
        try:
            return self.unit.read_text().startswith(MARK)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SystemChangeError(f"cannot read {self.unit}: {(error.strerror or '').lower()}") from error

    def _write(
        self, program: Sequence[str], options: Sequence[str], undo: contextlib.ExitStack
    ) -> Iterator[str]:
        if self.unit.exists() and not self._is_ours():
            why = f"{self.unit} is somebody else's (remove it; for options use systemctl edit {UNIT})"
            raise SystemChangeError(f"cannot install the service: {why}")
        undo.callback(self._tool, ["systemctl", "daemon-reload"])
        for path, text in ((self.accounts, packaged(ACCOUNTS)), (self.unit, unit_text(program, options))):
            undo.callback(_restore, path, path.read_bytes() if path.exists() else None)
            _write_file(path, text)
            yield f"wrote {path}"
        self._do("make the worker's user", "systemd-sysusers", str(self.accounts))
        yield f"user {WORKER} carries packets, the group {CONTROLLERS} may ask and command"
        self._do("have systemd read its units again", "systemctl", "daemon-reload")

    def _remove_accounts(self) -> Iterator[str]:
        """Remove the accounts that install made; a package's stay with the package."""
        if not self.accounts.exists():
            return
        _restore(self.accounts, None)
        yield f"removed {self.accounts}"
        if self._from_package():
            return
        for tool, name in (("userdel", WORKER), ("groupdel", CONTROLLERS)):
            done = self._tool([tool, name])
            kind = "user" if tool == "userdel" else "group"
            yield f"removed the {kind} {name}" if done.code == 0 else f"the {kind} {name} stays: {done.said}"

    def _do(self, what: str, *argv: str) -> str:
        """Run a tool and return what it puts out. Raises SystemChangeError where it fails."""
        done = self._tool(argv)
        if done.code:
            raise SystemChangeError(f"cannot {what}: {done.said or f'{argv[0]} ends with {done.code}'}")
        return done.out


def program_words(argv: Sequence[str], executable: str) -> list[str]:
    """Return the command that runs this very tunproxy from anywhere, from sys.argv and sys.executable."""
    script = shutil.which(argv[0])
    if script is not None and os.path.basename(script) == "tunproxy":
        return [os.path.abspath(script)]
    if not os.path.isabs(executable):
        raise ConfigError("cannot install the service: it cannot be told which Python this is (use its path)")
    return [executable, "-P", "-m", "tunproxy"]


def who_else_may_write(*paths: Path) -> list[Path]:
    """Return those of paths, and the folders they are in, that others than root may change or replace."""
    found: list[Path] = []
    for path in paths:
        for each in [path, *path.parents, path.resolve(), *path.resolve().parents]:
            status = each.lstat()
            others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(status.st_mode)
            if (status.st_uid != 0 or (others and not status.st_mode & stat.S_ISVTX)) and each not in found:
                found.append(each)
    return found


def _write_file(path: Path, text: str) -> None:
    """Put text in place of what path has; nobody sees half of it. Raises SystemChangeError."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new.write_text(text)
        new.chmod(0o644)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise SystemChangeError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def _restore(path: Path, before: bytes | None) -> None:
    """Give a file the contents that it had; None: it was not there, and its folder perhaps neither."""
    if before is None:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are in it
            path.parent.rmdir()
    else:
        path.write_bytes(before)
