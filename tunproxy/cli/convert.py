"""``tunproxy convert``: other programs' configurations become rule files or a tunproxy.toml."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tunproxy.cli.convert_upstreams import comment, quoted
from tunproxy.errors import ConfigError
from tunproxy.progress import showing
from tunproxy.rulesets.convert.detect import FORMATS, detect

if TYPE_CHECKING:
    from tunproxy.rulesets.convert.report import Conversion, Outcome

PRIVATE_MODE: Final = 0o600  # of a new file with passwords


def convert_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The other program's configuration.")],
    form: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="|".join(FORMATS),
            help="Whose it is; default: what it looks like.",
            show_default=False,
        ),
    ] = "",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Where to; *.toml: a configuration, with proxies, groups and rule sets.",
        ),
    ] = "-",
    passwords: Annotated[
        bool, typer.Option("--passwords", help="With *.toml: write passwords of proxies into it, too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Report only what is not exact.")] = False,
) -> int:
    """Convert another program's rules and proxies.

    The report, on standard error, says of each rule: exact, approximated, or dropped, and why. With *.toml
    it says so of each proxy, group and rule set, too.
    """
    from tunproxy.cli.convert_groups import group_tables
    from tunproxy.cli.convert_sets import SetTables, set_tables
    from tunproxy.cli.convert_upstreams import tables
    from tunproxy.control.rule_files import octets_of
    from tunproxy.control.writing import replace_file
    from tunproxy.rulesets.convert.report import APPROXIMATED, DROPPED, EXACT

    if form and form not in FORMATS:
        raise typer.BadParameter(f"{form!r} is none of {', '.join(FORMATS)}", param_hint="'--from'")
    with showing(f"reading {file}", is_quiet=quiet) as progress:
        data = octets_of(file)
        whose = form or detect(data)
        if not whose:
            why = "it looks like no other program's configuration (say whose with --from)"
            raise ConfigError(f"cannot convert {file}: {why}")
        progress.begins(f"converting {file}, taken as {whose}")
        result = _converters()[whose](data, file)
    if not result.outcomes:
        raise ConfigError(f"cannot convert {file}: {whose} would find no rule in it{_perhaps(data, whose)}")
    accounts: dict[str, list[Outcome]] = {}
    sets = SetTables()
    if output.endswith(".toml"):
        upstreams, accounts["upstreams"] = tables(result, with_passwords=passwords)
        groups, accounts["groups"] = group_tables(result)
        sets = set_tables(result, output)
        accounts["rule sets"] = sets.account
        text = as_toml(result, {**upstreams, **groups}, sets.lines)
    else:
        text = result.rule_file()
    for name, content in sets.files.items():
        replace_file(os.path.join(os.path.dirname(output), name), content)
    if output == "-":
        typer.echo(text, nl=False)
    elif passwords:
        replace_file(output, text.encode(), PRIVATE_MODE)
    else:
        replace_file(output, text.encode())
    for outcome in (*result.outcomes, *(each for account in accounts.values() for each in account)):
        if outcome.result != EXACT or not quiet:
            typer.echo(str(outcome), err=True)
    kinds = (EXACT, APPROXIMATED, DROPPED)
    counts = ", ".join(f"{result.count(each)} {each}" for each in kinds)
    for what, account in accounts.items():
        if account:
            of = [sum(outcome.result == each for outcome in account) for each in kinds]
            counts += f"; {what}: {of[0]} {EXACT}, {of[1]} {APPROXIMATED}, {of[2]} {DROPPED}"
    if accounts and result.others:
        parts = comment(", ".join(result.others))
        typer.echo(f"{file}: left out, as not about rules and proxies: {parts}", err=True)
    typer.echo(f"{file}: {counts}" if form else f"{file}, taken as {whose}: {counts}", err=True)
    return 0


def as_toml(result: "Conversion", outlets: Mapping[str, list[str]], sets: list[str]) -> str:
    """Return a configuration: rules, sub-rules and rule sets; what has to be filled in is a comment.

    outlets are the lines of each proxy's and each group's table, sets those of all rule sets.
    """
    lines = [f"# converted from {comment(result.name)}", ""]
    lines += ["rules = ["]
    lines += [f"  {quoted(line)}," for line in result.lines]
    lines += ["]"]
    if result.sub_rules:
        lines += ["", "[sub-rules]"]
        for name, rules in result.sub_rules.items():
            lines += [f"{quoted(name)} = [", *(f"  {quoted(rule)}," for rule in rules), "]"]
    for name in dict.fromkeys(outlet.name for outlet in result.outlets):
        lines += ["", *outlets[name]]
    return "\n".join([*lines, *sets]) + "\n"


def _perhaps(data: bytes, whose: str) -> str:
    likely = detect(data)
    return f" (it looks like one of {likely})" if likely not in ("", whose) else ""


def _converters() -> "Mapping[str, Callable[[bytes, str], Conversion]]":
    from tunproxy.rulesets.convert.acl import convert_acl
    from tunproxy.rulesets.convert.clash import convert_clash
    from tunproxy.rulesets.convert.dae import convert_dae
    from tunproxy.rulesets.convert.proxifier import convert_proxifier
    from tunproxy.rulesets.convert.singbox import convert_singbox
    from tunproxy.rulesets.convert.surge import convert_surge
    from tunproxy.rulesets.convert.uris import convert_uris

    return {
        "clash": convert_clash,
        "sing-box": convert_singbox,
        "surge": convert_surge,
        "acl": convert_acl,
        "dae": convert_dae,
        "proxifier": convert_proxifier,
        "uris": convert_uris,
    }
