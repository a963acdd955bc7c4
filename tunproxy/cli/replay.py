"""The command ``tunproxy replay``: which flows other rules would have sent elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

CHANGES = 1  # exit code


def replay_flows(
    capture: Annotated[
        str,
        typer.Argument(metavar="[CAPTURE]", help="A pcap or pcapng file; default: what was recorded."),
    ] = "",
    rules: Annotated[
        str,
        typer.Option("--rules", metavar="FILE", help="The new rules; or *.toml, a configuration with some."),
    ] = "",
    config: Annotated[
        str,
        typer.Option(
            "--config", metavar="FILE", help="Configuration whose upstreams and rule sets are meant."
        ),
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="How long ago (15m, 24h, 7d), or a date and time.")
    ] = "",
    every: Annotated[
        bool, typer.Option("--all", help="Show flows as well that stay where they are.")
    ] = False,
    file: Annotated[
        str, typer.Option("--file", metavar="FILE", help="Where it was recorded, if not in the usual place.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print everything, for programs.")] = False,
) -> int:
    """Show which flows would go elsewhere by other rules.

    Flows that were recorded, or those in a capture: then from where the rules as they are would send them.
    Nothing has to run. Exit code 1: something would change, 0: nothing would, 2: rules or flows are broken.
    """
    from json import dumps

    from tunproxy.cli.replay_text import describe_replay
    from tunproxy.control.history.places import find_ring
    from tunproxy.control.history.query import Filter
    from tunproxy.control.history.replaying import Judged, replay_capture, replay_ring
    from tunproxy.control.history.spans import moment_of
    from tunproxy.progress import showing

    if not rules:
        raise typer.BadParameter("name the new rules: --rules FILE")
    if capture and (since or file):
        raise typer.BadParameter("--since and --file are about what was recorded, not about a capture")
    wanted = Filter(since=moment_of(since) if since else 0.0)
    with showing("reading the rules") as progress:
        after = Judged.by(rules, config)
        if capture:
            before = Judged.by("", config)
            outcome = replay_capture(after, before, Path(capture), progress, lists=json)
        else:
            outcome = replay_ring(after, find_ring(file), wanted, progress, lists=json)
    changes = outcome.changes
    if json:
        document = {**changes.document(every=every), "changes": outcome.changed, "notes": outcome.notes}
        typer.echo(dumps(document, indent=2))
    else:
        typer.echo(describe_replay(changes, every=every))
        for note in outcome.notes:
            typer.echo(f"note: {note}", err=True)
    return CHANGES if changes.changed else 0
