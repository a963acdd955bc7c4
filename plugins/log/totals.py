"""The command ``flow-totals``: adds up what the log plugin has noted in a file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tunproxy.plugin.api import ConfigError

app = typer.Typer(
    help="Add up what a file of the log plugin has noted.", add_completion=False, rich_markup_mode=None
)


@app.command()
def totals(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What the option file of [plugins.log] names.")
    ],
) -> None:
    """Print flows and octets by upstream, the busiest first."""
    sums: dict[str, list[int]] = {}
    for number, line in enumerate(_lines(file), 1):
        try:
            flow = json.loads(line)
            if flow["event"] != "closed":
                continue
            of_upstream = sums.setdefault(flow["upstream"], [0, 0, 0])
            for at, amount in enumerate((1, flow["up"], flow["down"])):
                of_upstream[at] += amount
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{file}:{number}: not a line of the log plugin: {error}") from error
    for upstream, (count, up, down) in sorted(sums.items(), key=lambda item: -sum(item[1][1:])):
        typer.echo(f"{upstream}: {count} flows, {up} octets up, {down} down")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from error
