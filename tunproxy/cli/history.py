"""The command ``tunproxy history``: flows that are over, as they were recorded."""

from typing import Annotated

import typer

from tunproxy.cli.options import number

STDOUT_FD = 1
Part = "Part of it, or a pattern with * and ?."


def show_history(
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="How long ago (15m, 24h, 7d), or a date and time.")
    ] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Likewise, the end.")] = "",
    process: Annotated[str, typer.Option("--process", metavar="NAME", help=f"Only of it. {Part}")] = "",
    host: Annotated[
        str, typer.Option("--host", metavar="NAME", help=f"Only to this name or address. {Part}")
    ] = "",
    rule: Annotated[str, typer.Option("--rule", metavar="TEXT", help=f"Only by this rule. {Part}")] = "",
    upstream: Annotated[
        str, typer.Option("--upstream", metavar="NAME", help=f"Only through it, or its group. {Part}")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=0, help="At most so many, the newest; 0: all.")
    ] = 30,
    why: Annotated[
        int,
        typer.Option(
            "--why", metavar="ID", parser=number, show_default=False, help="Say why this one went there."
        ),
    ] = 0,
    file: Annotated[
        str, typer.Option("--file", metavar="FILE", help="Where it was recorded, if not in the usual place.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print everything, a flow a line.")] = False,
) -> int:
    """Show flows that are over, the newest last.

    They are recorded where [history] in tunproxy.toml says enabled = true. Works when nothing runs.
    """
    from json import dumps
    from os import isatty
    from shutil import get_terminal_size

    from tunproxy.cli.history_text import describe_entry, describe_gaps, describe_history
    from tunproxy.control.history.places import find_ring
    from tunproxy.control.history.query import Filter, Ring
    from tunproxy.control.history.spans import moment_of

    wanted = Filter(
        since=moment_of(since) if since else 0.0,
        until=moment_of(until) if until else 0.0,
        process=process,
        host=host,
        rule=rule,
        upstream=upstream,
    )
    with Ring(find_ring(file)) as ring:
        if why:
            entry = ring.entry(why)
            typer.echo(dumps(entry, indent=2) if json else describe_entry(entry))
            return 0
        if json:
            for entry in ring.entries(wanted, limit):
                typer.echo(dumps(entry))
            return 0
        columns = get_terminal_size().columns if isatty(STDOUT_FD) else 0
        for line in describe_history(ring.entries(wanted, limit), ring.count(wanted), columns):
            typer.echo(line)
        missed, reasons = ring.gaps(wanted.since)
        if missed:
            typer.echo(describe_gaps(missed, reasons))
    return 0
