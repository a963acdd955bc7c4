"""``tunproxy convert``: other programs' configurations become rule files or a tunproxy.toml."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tunproxy.errors import ConfigError
from tunproxy.rulesets.convert.detect import FORMATS, detect

if TYPE_CHECKING:
    from tunproxy.rulesets.convert.report import Conversion, Outlet

SPOKEN: Final = ("socks4", "socks4a", "socks5", "http", "https")
PASSWORDS: Final = ("socks5", "http", "https")
ENDINGS: Final = {"yaml": ".yaml", "text": ".txt", "mrs": ".mrs", "json": ".json", "srs": ".srs"}


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
            "--output", "-o", metavar="OUT", help="Where to; *.toml: with rule sets and sub-rules. Default: -"
        ),
    ] = "-",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Report only what is not exact.")] = False,
) -> int:
    """Convert another program's rules.

    The report, on standard error, says of each rule: exact, approximated, or dropped, and why.
    """
    from tunproxy.cli.writing import replace_file
    from tunproxy.control.rule_files import octets_of
    from tunproxy.rulesets.convert.report import APPROXIMATED, DROPPED, EXACT

    if form and form not in FORMATS:
        raise typer.BadParameter(f"{form!r} is none of {', '.join(FORMATS)}", param_hint="'--from'")
    data = octets_of(file)
    whose = form or detect(data)
    if not whose:
        raise ConfigError(
            f"cannot convert {file}: it looks like no other program's configuration (say whose with --from)"
        )
    result = _converters()[whose](data, file)
    if not result.outcomes:
        raise ConfigError(f"cannot convert {file}: {whose} would find no rule in it{_perhaps(data, whose)}")
    text = as_toml(result) if output.endswith(".toml") else result.rule_file()
    if output == "-":
        typer.echo(text, nl=False)
    else:
        replace_file(output, text.encode())
    for outcome in result.outcomes:
        if outcome.result != EXACT or not quiet:
            typer.echo(str(outcome), err=True)
    counts = ", ".join(f"{result.count(each)} {each}" for each in (EXACT, APPROXIMATED, DROPPED))
    typer.echo(f"{file}: {counts}" if form else f"{file}, taken as {whose}: {counts}", err=True)
    return 0


def as_toml(result: "Conversion") -> str:
    """Return a configuration: rules, sub-rules and rule sets; what has to be filled in is a comment."""
    lines = [f"# converted from {_comment(result.name)}", ""]
    lines += ["rules = ["]
    lines += [f"  {_quoted(line)}," for line in result.lines]
    lines += ["]"]
    if result.sub_rules:
        lines += ["", "[sub-rules]"]
        for name, rules in result.sub_rules.items():
            lines += [f"{_quoted(name)} = [", *(f"  {_quoted(rule)}," for rule in rules), "]"]
    for outlet in result.outlets:
        lines.append("")
        if outlet.kind.startswith("group"):
            kind = outlet.kind.removeprefix("group").strip()
            lines += [f"[groups.{_quoted(outlet.name)}]", f"type = {_quoted(kind)}"]
            lines += [f"members = [{', '.join(map(_quoted, outlet.members))}]"]
        else:
            lines += _upstream(outlet)
    for source in result.sources:
        lines += ["", f"[rule-sets.{_quoted(source.name)}]"]
        if source.kind != "file":
            lines += [f"# {_comment(source.kind)}: {_comment(source.location)} (get it, and say where it is)"]
        path = source.location if source.kind == "file" else source.name + ENDINGS.get(source.form, "")
        lines += [f"path = {_quoted(path)}"]
        lines += [f"format = {_quoted(source.form)}"] if source.form else []
        lines += [f"behavior = {_quoted(source.behavior)}"] if source.behavior else []
    return "\n".join(lines) + "\n"


def _upstream(outlet: "Outlet") -> list[str]:
    """Return the table of an upstream; one that we cannot speak to becomes a SOCKS proxy of this host."""
    if "," in outlet.name:
        return [f"# upstream {_comment(outlet.name)} is left out: no rule can have a comma in its target"]
    kind = outlet.kind.removeprefix("proxy").strip()
    lines = [f"[upstreams.{_quoted(outlet.name)}]"]
    if kind not in SPOKEN:
        what = f"{_comment(kind)}, which tunproxy does not speak" if kind else "nothing that is said"
        return [
            *lines,
            f"# it was {what}: run a program that does, and name its SOCKS port",
            *('type = "socks5"', 'server = "127.0.0.1"', "port = 1080"),
        ]
    lines += [f"type = {_quoted(kind)}"]
    if not outlet.server or not outlet.port:
        return [*lines, '# server = "", port = 0: fill in']
    lines += [f"server = {_quoted(outlet.server)}", f"port = {outlet.port}"]
    if outlet.user:
        lines += [f"user = {_quoted(outlet.user)}"]
        lines += ['# password = { env = "NAME" } or { file = "PATH" }: fill in'] if kind in PASSWORDS else []
    return lines


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

    return {
        "clash": convert_clash,
        "sing-box": convert_singbox,
        "surge": convert_surge,
        "acl": convert_acl,
        "dae": convert_dae,
        "proxifier": convert_proxifier,
    }


def _quoted(text: str) -> str:
    """Return text as TOML's basic string; its escapes are those of JSON, and DEL has to be one."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
