"""The command ``tunproxy flows``: which there are, and which there were."""

from typing import Annotated

import typer


def show_flows(
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", metavar="N", min=0, max=20_000, help="At most so many, the newest."),
    ] = 30,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    only_closed: Annotated[bool, typer.Option("--closed", help="Only those that are over.")] = False,
    tun: Annotated[
        str, typer.Option("--tun", metavar="NAME", help="Which tunproxy: its TUN device, or exec-PID.")
    ] = "",
    socket: Annotated[
        str, typer.Option("--socket", metavar="PATH", help="Which tunproxy: its control socket.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print everything, for programs.")] = False,
) -> int:
    """Show the flows of a running tunproxy, the newest last.

    Those that are open, and those that ended last. tunproxy explain --flow N says why one goes where it goes.
    """
    from json import dumps

    from tunproxy.cli.answers import in_words
    from tunproxy.cli.flows_text import describe_flows
    from tunproxy.control.client import choose, fetch_flows

    if only_open and only_closed:
        raise typer.BadParameter("--open and --closed exclude each other")
    if tun and socket:
        raise typer.BadParameter("--tun and --socket exclude each other")
    state = "open" if only_open else "closed" if only_closed else ""
    path = choose(tun, socket).path
    document = fetch_flows(path, limit, state)
    typer.echo(dumps(document, indent=2) if json else in_words(describe_flows, document, path))
    return 0
