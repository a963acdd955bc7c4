"""``tunproxy rules``: what can be done with files of rules without running anything."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunproxy.errors import ConfigError

if TYPE_CHECKING:
    from tunproxy.control.rule_files import Checked

FOUND_SOMETHING = 1  # exit code

rules_app = typer.Typer(
    help="Lint, format and test rule files; update rule sets.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
File = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="A file of rules, one a line; or *.toml, a configuration with rules."
    ),
]
Config = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration whose upstreams, groups and rule sets are meant.",
    ),
]


@rules_app.command("lint")
def lint_rules(file: File, config: Config = "") -> int:
    """Find rules that can never decide, or lead nowhere.

    They never match, are covered by earlier ones, or are there twice. Targets and rule sets are looked up
    with --config, or where FILE is a configuration. Exit code 1: there is something, 2: broken rules.
    """
    from tunproxy.rules.lint import lint

    checked = _checked(file, config)
    findings = lint(checked.rules, checked.set_names, checked.targets, checked.sub_rules)
    for finding in findings:
        typer.echo(str(finding))
    return FOUND_SOMETHING if findings else 0


@rules_app.command("fmt")
def format_file(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A file of rules, one a line; -: standard input.")
    ],
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 1 if it would.")] = False,
) -> int:
    """Put a rule file into the one form.

    FILE - formats standard input to standard output. Types in capitals, no blanks around commas, comments two
    blanks behind their rule. Lines that are no rules stay as they are.
    """
    from tunproxy.control.rule_files import is_configuration
    from tunproxy.control.writing import replace_file
    from tunproxy.rules.fmt import format_rules

    if is_configuration(file):
        raise ConfigError(
            f"cannot format {file}: it is a configuration (put its rules into a file: rules-file)"
        )
    try:
        text = (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
        formatted = format_rules(text)
        if file == "-" and not check:
            typer.echo(formatted, nl=False)
            return 0
        if text == formatted:
            return 0
        if check:
            typer.echo(f"{file} would be changed")
            return FOUND_SOMETHING
        replace_file(file, formatted.encode())
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"cannot format {file}: it is not UTF-8 (line {line})") from error
    except OSError as error:
        raise ConfigError(f"cannot format {file}: {(error.strerror or str(error)).lower()}") from error
    return 0


@rules_app.command("test")
def test_rules(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files of rules, or *.toml, with expectations.")
    ],
    config: Config = "",
) -> int:
    """Check the expectations in rule files.

    An expectation is a comment:  # expect: curl -> github.com:443/tcp => work
    Exit code 1: one is not met, 2: a file is broken.
    """
    from tunproxy.control.rule_files import check_file

    outcomes = [outcome for file in files for outcome in check_file(file, config)]
    missed = [outcome for outcome in outcomes if not outcome.is_met]
    for outcome in missed:
        typer.echo(str(outcome))
    typer.echo(f"{len(outcomes) - len(missed)} of {len(outcomes)} expectations are met")
    return FOUND_SOMETHING if missed else 0


@rules_app.command("update")
def update_sets(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Rule sets; default: all that have a url.")
    ] = None,
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="Configuration whose rule sets are meant.")
    ] = "",
) -> int:
    """Download the files of rule sets.

    Each from the url that the configuration has for it. A file that is broken, or mostly no rules, does not
    take the place of the old one. A tunproxy up that runs notices new files by itself. Exit code 1: a file
    could not be had.
    """
    from tunproxy.control.config.sources import read_alone
    from tunproxy.control.rule_downloads import DownloadError, chosen, update
    from tunproxy.control.settings import PolicyOptions
    from tunproxy.progress import showing

    sets = chosen(read_alone(PolicyOptions(config=config)), names or [])
    failed = False
    for name, each in sets.items():
        try:
            with showing(f"downloading {name}") as progress:
                found = update(name, each, progress)
        except DownloadError as error:
            failed = True
            typer.echo(f"tunproxy: {error}", err=True)
            continue
        skipped = f", {found.skipped:,} entries cannot be read" if found.skipped else ""
        typer.echo(f"{name}: {found.octets:,} octets, {'new' if found.is_new else 'as before'}{skipped}")
    return FOUND_SOMETHING if failed else 0


def _checked(file: str, config: str) -> "Checked":
    from tunproxy.control.rule_files import read_checked

    return read_checked(file, config)
