"""The command ``compress train``: makes a dictionary of files that are like what flows will carry."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from tunproxy.plugin.api import ConfigError, showing_progress, zstd_dictionaries

app = typer.Typer(
    help="Dictionaries for the codec zstd.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def compress() -> None:
    """Dictionaries for the codec zstd."""


@app.command()
def train(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="What flows carry: logs, requests, messages.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write the dictionary.")
    ],
    size: Annotated[
        int, typer.Option(metavar="N", help="Its size in octets, at most.")
    ] = zstd_dictionaries.USUAL,
) -> None:
    """Train a dictionary.

    A large file counts as many samples. Some are put aside, to see how good the dictionary is.
    """
    with showing_progress("reading") as progress:
        samples = zstd_dictionaries.samples_of(_read(progress.each(files, "reading")))
        learnt, kept = zstd_dictionaries.parted(samples)
        progress.begins(f"learning from {len(learnt)} samples")
        made = zstd_dictionaries.train(learnt, size)
        try:
            output.write_bytes(made.data)
        except OSError as error:
            raise ConfigError(f"cannot write {output}: {(error.strerror or str(error)).lower()}") from error
        tried = progress.each((made, None), "trying the dictionary")
        with_it, without = [zstd_dictionaries.share_left(kept, each) for each in tried]
    typer.echo(
        f"{output}: dictionary {made.number}, {len(made.data)} octets, from {len(learnt)} samples; "
        f"{len(kept)} others shrink to {with_it:.1%}, without it to {without:.1%}"
    )


def _read(files: Iterable[Path]) -> Iterator[bytes]:
    left = zstd_dictionaries.MOST_TRAINED
    for file in files:
        try:
            with contextlib.closing(file.open("rb")) as opened:
                content = opened.read(left + 1)  # what is too much is told, not held
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from error
        left -= min(len(content), left)
        yield content
