"""The command ``tunproxy explain``: where a flow goes, and why."""

from typing import Annotated, Any

import typer

from tunproxy.cli import options
from tunproxy.cli.options import number

Source = Annotated[
    str, typer.Option("--from", metavar="ADDR", help="The client's address, with or without a port.")
]
Host = Annotated[
    str, typer.Option("--host", metavar="NAME", help="The name that is meant, where TARGET is an address.")
]
Program = Annotated[
    str,
    typer.Option("--process", metavar="NAME", help="The program: its name, its path, or a process's number."),
]
Uid = Annotated[
    int,
    typer.Option(
        "--uid", metavar="N", parser=number, show_default=False, help="The user that the flow is of."
    ),
]
Number = Annotated[
    int,
    typer.Option(
        "--flow",
        metavar="N",
        parser=number,
        show_default=False,
        help="Explain this flow of a running tunproxy.",
    ),
]
Config = Annotated[str, typer.Option("--config", metavar="FILE", help="Go by this configuration.")]
Rules = Annotated[str, typer.Option("--rules", metavar="FILE", help="Go by these rules.")]
Upstream = Annotated[str, typer.Option("--upstream", metavar="URL", help="Go by this upstream.")]
Plugin = Annotated[
    list[str] | None, typer.Option("--plugin", metavar="FILE", help="And by this plugin. Repeatable.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Go by the configuration, even where a tunproxy is running.")
]
Every = Annotated[bool, typer.Option("--all", help="Show every rule that was asked.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything, for programs.")]


def explain_flow(
    target: Annotated[
        str,
        typer.Argument(metavar="[TARGET]", help="As in example.org:443, udp:1.1.1.1:53, [2001:db8::1]:80."),
    ] = "",
    source: Source = "",
    host: Host = "",
    process: Program = "",
    uid: Uid = -1,
    flow: Number = 0,
    tun: options.WhichTun = "",
    socket: options.WhichSocket = "",
    config: Config = "",
    rules: Rules = "",
    upstream: Upstream = "",
    plugin: Plugin = None,
    offline: Offline = False,
    every: Every = False,
    json: AsJson = False,
) -> int:
    """Say where a flow goes, and why.

    What was known of it, and what each rule and plugin said.

    Asks the tunproxy that is running, or else goes by the configuration. No flow is made.
    """
    from json import dumps

    from tunproxy.cli.answers import in_words
    from tunproxy.decide.words import describe_record

    if bool(target) == bool(flow):
        raise typer.BadParameter("name one flow: a TARGET, or --flow")
    by_files = bool(config or rules or upstream or plugin or offline)
    if by_files and (tun or socket or flow):
        raise typer.BadParameter(
            "--config, --rules, --upstream, --plugin and --offline ask no running tunproxy"
        )
    options.check_which(tun, socket)
    if flow:
        document = _of_flow(flow, tun, socket)
    else:
        document = _of_question(
            target,
            {"source": source, "host": host, "process": process, "uid": uid},
            (tun, socket),
            (config, rules, upstream, tuple(plugin or ())),
            by_files=by_files,
        )
    if json:
        typer.echo(dumps(document, indent=2))
    else:
        text = in_words(lambda found: describe_record(found, every_rule=every), document, document["by"])
        typer.echo(text)
        if document.get("kernel_direct"):
            lane = (
                f"{document['kernel_direct']} is kernel-direct: with tunproxy up, its packets never come here"
            )
            typer.echo(f"{'lane':<11}{lane}")
        if document.get("left_alone"):
            typer.echo(f"{'past us':<11}its packets do not come here: {document['left_alone']}")
        typer.echo(f"{'by':<11}{document['by']}")
    return 0


def _of_flow(number: int, tun: str, socket: str) -> dict[str, Any]:
    from tunproxy.control.client import choose, fetch_flow

    found = choose(tun, socket)
    return {**fetch_flow(found.path, number), "by": _running(found.name, found.pid)}


def _of_question(
    target: str,
    more: dict[str, Any],
    running: tuple[str, str],
    files: tuple[str, str, str, tuple[str, ...]],
    *,
    by_files: bool,
) -> dict[str, Any]:
    from tunproxy.control.client import NotRunningError, choose, fetch_explanation
    from tunproxy.decide.question import parse_question

    question = parse_question(target, **more)
    if not by_files:
        try:
            found = choose(*running)
        except NotRunningError:
            if any(running):
                raise
        else:
            return {**fetch_explanation(found.path, question), "by": _running(found.name, found.pid)}

    from tunproxy.control.config.sources import PolicyOptions
    from tunproxy.control.explaining import explain_by_files
    from tunproxy.secret import Secret

    config, rules, upstream, plugins = files
    document = explain_by_files(PolicyOptions(config, rules, Secret(upstream), plugins), question)
    return {**document, "by": f"{document['source']} (no running tunproxy was asked)"}


def _running(name: str, pid: int) -> str:
    return f"{name}, which is running (process {pid})"
