"""The command ``tunproxy top``: the flows of a running tunproxy, live."""

import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from tunproxy.cli import options
from tunproxy.errors import TunproxyError

INSTALL = "pip install 'tunproxy[top]'"
LEAST, MOST = 0.5, 60.0  # seconds between two looks
KINDS = {"flow": "flow", "flows": "flow", "process": "process", "rule": "rule", "upstream": "upstream"}


def watch_flows_live(
    filter: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILTER]...", help="As of capture: process:curl '!port:53'."),
    ] = None,
    by: Annotated[
        str, typer.Option("--by", metavar="WHAT", help="One line for each: flow, process, rule, upstream.")
    ] = "flow",
    sort: Annotated[
        str, typer.Option("--sort", metavar="COLUMN", help="Sort by this column.", show_default=False)
    ] = "",
    delay: Annotated[
        float, typer.Option("--delay", "-d", metavar="SECONDS", help="Between two looks, 0.5 to 60.")
    ] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", help="Print a table and end, as without a terminal.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, max=20_000, help="Lines of that table.")
    ] = 30,
    tun: options.WhichTun = "",
    socket: options.WhichSocket = "",
) -> int:
    """Watch the flows of a running tunproxy, and end some.

    With their rates, by process, rule and upstream; the pane that e opens says why a flow goes where it
    goes. The keys stand in the last line, and ? says more. Programs ask tunproxy flows --json.
    """
    from tunproxy.cli.top.flows import LiveFlows
    from tunproxy.cli.top.view import View
    from tunproxy.control.client import choose
    from tunproxy.progress import is_seen

    options.check_which(tun, socket)
    if by not in KINDS:
        raise typer.BadParameter(f"--by {by}: flow, process, rule or upstream")
    if not LEAST <= delay <= MOST:
        raise typer.BadParameter(f"--delay {delay:g}: from {LEAST:g} to {MOST:g} seconds")
    flows = LiveFlows()
    view = View(flows, kind=KINDS[by], text=" ".join(filter or ()))
    if sort:
        titles = [column.title for column in view.columns]
        if sort not in titles:
            raise typer.BadParameter(f"--sort {sort}: one of {', '.join(titles)}")
        if sort != view.sort.title:
            view.sort_by(sort)
    path = choose(tun, socket).path
    if once or not (is_seen(sys.stdin) and is_seen(sys.stdout)):
        from tunproxy.cli.top.once import describe, look_twice

        look_twice(path, delay, flows)
        typer.echo(describe(view, limit))
        return 0
    if find_spec("textual") is None:
        raise TunproxyError(f"cannot draw: textual is not installed ({INSTALL}, or tunproxy top --once)")
    from tunproxy.cli.top.app import TopApp

    TopApp(view, tun, socket, delay).run()
    return 0
