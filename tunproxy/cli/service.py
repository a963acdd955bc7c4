"""``tunproxy service``: tunproxy under systemd, from the next start of the machine on."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from tunproxy.errors import ConfigError

NOT_ACTIVE: Final = 3  # exit codes of `systemctl status` (LSB 5.0, 22.2)
NOT_INSTALLED: Final = 4
CHECK_SECONDS: Final = 120  # our choice; a million rules take two or three
CONFIG_HOME: Final = "/etc"  # as the unit has it

service_app = typer.Typer(
    name="service",
    help="Have systemd run tunproxy up, from the machine's start on.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@service_app.command("install", context_settings={"allow_interspersed_args": False})
def install(
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTION...]", help="Options of tunproxy up, such as --config FILE."),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Start it, too.")] = False,
) -> int:
    """Install and enable the service.

    What runs is this very tunproxy, by its path. Its configuration is /etc/tunproxy/tunproxy.toml unless the
    options name another. Where anything fails, all is put back.
    """
    from tunproxy.host.service import Service, program_words, who_else_may_write

    service = Service()
    service.demand("install")
    program = program_words(sys.argv, sys.executable)
    _check(program, options or [])
    for line in service.install(program, options or [], now=now):
        typer.echo(line)
    loose = who_else_may_write(Path(program[0]), Path(sys.executable), Path(__file__))
    if loose:
        typer.echo(f"warning: root runs this now, and others than root may change {loose[0]}", err=True)
    return 0


@service_app.command("uninstall")
def uninstall() -> int:
    """Stop the service, and undo what install did.

    A kill switch that it has left is undone, too.
    """
    from tunproxy.control.rescue import holds_now, rescue
    from tunproxy.host.service import Service

    for line in Service().uninstall():
        typer.echo(line)
    if holds_now():
        typer.echo(f"removed {', '.join(rescue())}")
    return 0


@service_app.command("status")
def show_status(
    json: Annotated[bool, typer.Option("--json", help="Print everything, for programs.")] = False,
) -> int:
    """Say how the service is.

    What it does is told by tunproxy status. Exit code 3 means that it does not run, 4 that it is not there.
    """
    from json import dumps

    from tunproxy.host.service import Service

    found = Service().status()
    typer.echo(dumps(found, indent=2) if json else describe(found))
    if found.get("LoadState") == "not-found":
        return NOT_INSTALLED
    return 0 if found.get("ActiveState") in ("active", "reloading") else NOT_ACTIVE


def describe(found: dict[str, str]) -> str:
    """Return what systemd says of the service, for people."""
    if found.get("LoadState") == "not-found":
        return "not installed (tunproxy service install)"
    state, since = found.get("ActiveState", "unknown"), found.get("ActiveEnterTimestamp", "")
    first = f"{state} ({found.get('SubState', '')})"
    if state == "active" and since:
        first += f" since {since}"
    rows = {
        "unit": ("FragmentPath", ""),
        "process": ("MainPID", "0"),
        "says": ("StatusText", ""),
        "restarts": ("NRestarts", "0"),
        "ended by": ("Result", "success"),
    }
    lines = [f"{first}, {found.get('UnitFileState') or 'not enabled'}"]
    for name, (key, usual) in rows.items():
        if found.get(key, usual) not in ("", usual):
            lines.append(f"  {name:<9} {found[key]}")
    return "\n".join(lines)


def _check(program: list[str], options: list[str]) -> None:
    """Raise ConfigError unless the service could start with these options of ``up``, as far as we know."""
    import typer.main

    from tunproxy.cli.main import app
    from tunproxy.host.service_unit import for_check
    from tunproxy.upstream.types import passwords_in

    up = typer.main.get_command(app).commands["up"]  # type: ignore[attr-defined]
    words = up.make_context("tunproxy up", list(options)).params  # raises what main prints in one line
    if passwords_in(words["upstream"]):
        why = "everybody could read the password of --upstream there (put the upstream into tunproxy.toml)"
        raise ConfigError(f"cannot write the unit: {why}")
    done = subprocess.run(
        [*program, "check", *for_check(options)],
        cwd="/",
        env={**os.environ, "XDG_CONFIG_HOME": CONFIG_HOME},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=CHECK_SECONDS,
    )  # what is wrong has been said
    if done.returncode:
        raise ConfigError("cannot install the service: its configuration cannot be used (see above)")
