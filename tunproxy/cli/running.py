"""Commands to a running tunproxy: ``status``, ``down`` and ``reload``."""

from typing import Annotated

import typer

from tunproxy.cli import options
from tunproxy.logs.setup import warn


def show_status(
    tun: options.WhichTun = "",
    socket: options.WhichSocket = "",
    json: Annotated[bool, typer.Option("--json", help="Print everything, for programs.")] = False,
) -> int:
    """Show what a running tunproxy does, and has dropped.

    Exit code 3 means that none is running.
    """
    from json import dumps

    from tunproxy.cli.answers import in_words
    from tunproxy.cli.status_text import describe_status
    from tunproxy.control.client import NotRunningError, choose, fetch_status

    options.check_which(tun, socket)
    try:
        path = choose(tun, socket).path
    except NotRunningError as error:
        from tunproxy.control.rescue import HOLDS, holds_now

        raise NotRunningError(f"{error}; {HOLDS}" if holds_now() else str(error)) from None
    document = fetch_status(path)
    typer.echo(dumps(document, indent=2) if json else in_words(describe_status, document, path))
    return 0


def end_running(tun: options.WhichUp = "", socket: options.WhichSocket = "") -> int:
    """End a running tunproxy up; the network is then as it was.

    A kill switch is undone as well. The exit code is 3 where none is running. A service that ends like this
    stays ended until somebody starts it, or the machine.
    """
    from tunproxy.control.client import choose
    from tunproxy.control.down import end

    options.check_which(tun, socket)
    found = choose(tun, socket, serves_host=True)
    end(found)
    typer.echo(f"{found.name} has ended; the network is as it was")
    return 0


def reload_policy(
    tun: options.WhichTun = "",
    socket: options.WhichSocket = "",
    pid: Annotated[
        int | None,
        typer.Option(metavar="N", parser=options.number, help="Which tunproxy: its process id."),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            min=1,
            max=86_400,
            show_default=False,
            help="Go back after so long, unless tunproxy confirm comes first.",
        ),
    ] = None,
) -> int:
    """Have a running tunproxy read its configuration again.

    Open connections keep their way. Where anything is wrong, the old policy stays, and the exit code is 2.
    What can be wrong when it is in force, [apply] check in the configuration says.
    """
    from tunproxy.cli.generations_text import describe_pending
    from tunproxy.cli.status_text import describe_policy
    from tunproxy.control.client import ask_reload, choose

    if bool(tun) + bool(socket) + bool(pid) > 1:
        raise typer.BadParameter("--tun, --socket and --pid exclude each other")
    found = choose(pid=pid) if pid else choose(tun, socket)
    answer = ask_reload(found.path, confirm) if confirm else ask_reload(found.path)
    policy = answer.get("policy") or {}
    for name, why in policy.get("plugin_problems", {}).items():
        warn(f"warning: plugin {name} {why}")
    typer.echo(describe_policy(policy))
    if confirm:
        typer.echo(describe_pending(answer, confirm))
    return 0
