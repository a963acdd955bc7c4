"""The command ``tunproxy flows``: which there are, and which there were."""

from typing import Annotated

import typer

from tunproxy.cli import options

MOST = 20_000  # flows that can be asked for


def show_flows(
    filter: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILTER]...", help="Only these: as of capture, process:curl '!port:53'."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", metavar="N", min=0, max=MOST, help="At most so many, the newest."),
    ] = 30,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    only_closed: Annotated[bool, typer.Option("--closed", help="Only those that are over.")] = False,
    tun: options.WhichTun = "",
    socket: options.WhichSocket = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on: a line when one begins, opens or ends.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything, for programs.")] = False,
) -> int:
    """Show the flows of a running tunproxy, the newest last.

    Those that are open, and those that ended last. tunproxy explain --flow N says why one goes where it goes.
    Whose a flow is, is known with --follow, or where a rule has asked for it.
    """
    from json import dumps

    from tunproxy.cli.answers import in_words
    from tunproxy.cli.flows_text import describe_flow, describe_flows
    from tunproxy.control.client import choose, fetch_flows, follow_flows
    from tunproxy.control.flow_filter import parse_filter

    if only_open and only_closed:
        raise typer.BadParameter("--open and --closed exclude each other")
    options.check_which(tun, socket)
    wanted = parse_filter(" ".join(filter or ()))
    state = "open" if only_open else "closed" if only_closed else ""
    path = choose(tun, socket).path
    if follow:
        try:
            for flow in follow_flows(path):
                if (not state or (flow.get("state") == "closed") is only_closed) and wanted.fits(flow):
                    typer.echo(dumps(flow) if json else in_words(describe_flow, flow, path))
        except KeyboardInterrupt:
            typer.echo(err=True)
        return 0
    document = fetch_flows(path, MOST if filter else limit, state)
    if filter:
        document["flows"] = [flow for flow in document["flows"] if wanted.fits(flow)][:limit]
    typer.echo(dumps(document, indent=2) if json else in_words(describe_flows, document, path))
    return 0
