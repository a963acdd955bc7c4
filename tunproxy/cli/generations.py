"""``tunproxy generations``, ``diff``, ``undo`` and ``confirm``: what was applied, and back to it.

They ask the tunproxy that runs; where none does, they look at what one has kept, and put files back by
themselves: a configuration that does not start is when one wants that most.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunproxy.cli import options

if TYPE_CHECKING:
    from tunproxy.control.generations.desk import Offline

Json = Annotated[bool, typer.Option("--json", help="Print everything, for programs.")]


def list_generations(tun: options.WhichUp = "", socket: options.WhichSocket = "", json: Json = False) -> int:
    """List the configurations that were applied, the newest last.

    Each with its time, who has asked for it, what became of it, and what is other in it; * is what runs.
    """
    from json import dumps

    from tunproxy.cli.answers import in_words
    from tunproxy.cli.generations_text import describe_generations
    from tunproxy.control.client import fetch_generations

    path = _running(tun, socket)
    document = fetch_generations(path) if path is not None else _kept(tun).generations()
    typer.echo(dumps(document, indent=2) if json else in_words(describe_generations, document, path))
    return 0


def show_diff(
    old: Annotated[
        str, typer.Argument(metavar="[A]", show_default=False, help="A generation; default: running.")
    ] = "running",
    new: Annotated[str, typer.Argument(metavar="[B]", help="Another; default: what the files say.")] = "",
    secrets: Annotated[bool, typer.Option("--secrets", help="Show passwords and keys.")] = False,
    tun: options.WhichUp = "",
    socket: options.WhichSocket = "",
    json: Json = False,
) -> int:
    """Show what is other in the files, or between two generations.

    Without arguments: from what runs to what the files say. A and B are numbers of generations, running, or
    disk. With A alone: from A to what runs. Exit code 1 means that something is other.
    """
    from json import dumps

    from tunproxy.cli.answers import in_words
    from tunproxy.cli.generations_text import coloured
    from tunproxy.control.client import fetch_diff
    from tunproxy.progress import is_seen

    new = new or ("disk" if old == "running" else "running")
    path = _running(tun, socket)
    if path is not None:
        document = fetch_diff(path, old, new, with_secrets=secrets)
    else:
        document = _kept(tun).diff(old, new, with_secrets=secrets)
    if json:
        typer.echo(dumps(document, indent=2))
    elif document.get("lines"):
        in_colour = is_seen(sys.stdout) and not os.environ.get("NO_COLOR")
        typer.echo(in_words(lambda each: coloured(each["lines"], in_colour=in_colour), document, path))
    return 1 if document.get("lines") else 0


def undo_change(
    number: Annotated[int | None, typer.Argument(metavar="[N]", min=1, help="To which generation.")] = None,
    keep_files: Annotated[
        bool, typer.Option("--keep-files", help="Only change what runs; the files stay as they are.")
    ] = False,
    tun: options.WhichUp = "",
    socket: options.WhichSocket = "",
    json: Json = False,
) -> int:
    """Go back to the configuration before, or to generation N.

    The files are put back, too. What they held is kept as a generation, so that nothing is lost. Where the
    files are not what runs, because they were wrong or taken back, they become what runs.
    """
    from json import dumps

    from tunproxy.cli.answers import in_words
    from tunproxy.cli.generations_text import describe_undone
    from tunproxy.control.client import NotRunningError, ask_undo

    path = _running(tun, socket)
    if path is not None:
        document = ask_undo(path, number or 0, keep_files=keep_files)
    elif keep_files:
        raise NotRunningError("no tunproxy is running: nothing but files could be put back")
    else:
        document = _kept(tun).undo(number or 0)
    typer.echo(dumps(document, indent=2) if json else in_words(describe_undone, document, path))
    return 0


def confirm_change(tun: options.WhichUp = "", socket: options.WhichSocket = "") -> int:
    """Let stay what reload --confirm has applied."""
    from tunproxy.control.client import ask_confirm, choose

    number = ask_confirm(choose(tun, socket, serves_host=True).path).get("generation")
    typer.echo(f"generation {number} stays" if number else "what runs stays")
    return 0


def _running(tun: str, socket: str) -> Path | None:
    """Return the control socket of the one that is meant; None where none runs that could be asked."""
    from tunproxy.control.client import NotRunningError, choose

    options.check_which(tun, socket)
    try:
        return choose(tun, socket, serves_host=True).path
    except NotRunningError:
        if socket:
            raise
        return None


def _kept(tun: str) -> "Offline":
    """Return what a tunproxy has kept that does not run; raises TunproxyError."""
    from tunproxy.control.client import NotRunningError
    from tunproxy.control.generations.desk import Offline, folders_kept
    from tunproxy.control.generations.store import Store
    from tunproxy.errors import TunproxyError

    folders = folders_kept(tun)
    if not folders:
        called = f" called {tun!r}" if tun else ""
        raise NotRunningError(
            f"no tunproxy{called} is running, and nothing is kept of one (tunproxy up keeps it)"
        )
    if len(folders) > 1:
        names = ", ".join(map(str, folders))
        raise TunproxyError(f"no tunproxy is running, and several have kept something: {names} (--tun NAME)")
    return Offline(Store(folders[0]))
