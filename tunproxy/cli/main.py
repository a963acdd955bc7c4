"""The command ``tunproxy``."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from logging import ERROR, WARNING
from typing import Annotated

import typer

from tunproxy.cli import options, streams
from tunproxy.cli import plugins as plugin_commands
from tunproxy.cli.capture import capture_packets
from tunproxy.cli.convert import convert_file
from tunproxy.cli.doctor import audit_host, examine_host
from tunproxy.cli.explain import explain_flow
from tunproxy.cli.flows import show_flows
from tunproxy.cli.generations import confirm_change, list_generations, show_diff, undo_change
from tunproxy.cli.history import show_history
from tunproxy.cli.relay import run_relay
from tunproxy.cli.replay import replay_flows
from tunproxy.cli.rules import rules_app
from tunproxy.cli.running import end_running, reload_policy, show_status
from tunproxy.cli.service import service_app
from tunproxy.cli.top.command import watch_flows_live
from tunproxy.cli.ui import show_dashboard
from tunproxy.control import settings as defaults
from tunproxy.control.capture import CaptureOptions
from tunproxy.errors import TunproxyError
from tunproxy.logs.setup import tell
from tunproxy.progress import showing

USAGE_ERROR = 2
COMPLETION = "_TUNPROXY_COMPLETE"  # the variable by which the scripts for shells ask
# what the command line library says, in its versions that we know; and what it says without a hint
_WORDS = {
    r"\. Did you mean (.*)\?$": r" (did you mean \1?)",
    r"\(Possible options: (.*)\)$": r"(did you mean \1?)",
    r"argument\(s\) \((.*)\)$": r"argument \1",
    "Input should be a valid integer.*": "not a whole number",
    "Input should be ": "must be ",
}
_BARE = ("No such", "Missing", "Got unexpected")

app = typer.Typer(
    name="tunproxy",
    cls=plugin_commands.WithPlugins,
    help="Put a transparent, system-wide proxy between programs and the network.",
    epilog="Plugins have commands, too: tunproxy plugins run names them.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(rules_app, name="rules")
app.add_typer(plugin_commands.app, name="plugins")
app.add_typer(service_app, name="service")
app.command("convert")(convert_file)
app.command("audit")(audit_host)
app.command("capture")(capture_packets)
app.command("doctor")(examine_host)
app.command("explain")(explain_flow)
app.command("down")(end_running)
app.command("flows")(show_flows)
app.command("history")(show_history)
app.command("generations")(list_generations)
app.command("diff")(show_diff)
app.command("undo")(undo_change)
app.command("confirm")(confirm_change)
app.command("relay")(run_relay)
app.command("reload")(reload_policy)
app.command("replay")(replay_flows)
app.command("status")(show_status)
app.command("top")(watch_flows_live)
app.command("ui")(show_dashboard)


def main() -> None:
    """Run the command line of this process, and end it."""
    streams.open_closed()
    if COMPLETION in os.environ:  # a shell asks what could stand next; the answer, and the end, are typer's
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code."""
    try:
        code = app(args=list(arguments), prog_name="tunproxy", standalone_mode=False)
    except TunproxyError as error:
        _tell(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except MemoryError:
        _tell("out of memory (allow it more, or leave rule sets out)")
        return USAGE_ERROR
    except OSError as error:
        why = streams.why_full(error)
        if not why:
            raise
        tell(f"cannot write to standard output: {why}", ERROR)
        return USAGE_ERROR
    except Exception as error:
        # What the command line library raises for bad input has had different names over its versions.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help, in many lines
            typer.echo(error.format_message(), err=True)
            return USAGE_ERROR
        context = getattr(error, "ctx", None)
        _tell(_one_line(error.format_message(), context.command_path if context is not None else ""))
        return USAGE_ERROR
    return code if isinstance(code, int) else 0


@app.callback(invoke_without_command=True)
def tunproxy(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Say which tunproxy this is, and end.")] = False,
) -> int:
    if version:
        return print_version()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
    return 0


@app.command("exec", context_settings={"allow_interspersed_args": False})
def run_command(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="CMD [ARG]...", help="Put -- in front of it.")],
    mtu: options.Mtu = defaults.MTU_DEFAULT,
    mark: options.Mark = 0,
    bind_interface: options.BindInterface = "",
    udp_timeout: options.UdpTimeout = defaults.UDP_TIMEOUT_DEFAULT,
    memory: options.Memory = defaults.MEMORY_DEFAULT,
    host_address: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDR", help="Address that means this host's loopback, for CMD. Repeatable."),
    ] = None,
    tun: options.Tun = defaults.TUN_DEFAULT,
    config: options.Config = "",
    rules: options.Rules = "",
    upstream: options.Upstream = "",
    plugin: options.Plugin = None,
    log_format: options.LogFormat = "",
    log_level: options.LogLevel = "",
) -> int:
    """Run a command through tunproxy; nothing else is touched.

    Needs no root where ordinary users may make user namespaces and open /dev/net/tun. Ends as CMD does.
    """
    from tunproxy.control.execute import execute
    from tunproxy.host.jobs import end_like

    settings = defaults.ExecSettings(
        command=tuple(command),
        tun=tun,
        mtu=mtu,
        mark=mark,
        bind_interface=bind_interface,
        udp_timeout=udp_timeout,
        memory=memory,
        host_addresses=tuple(host_address or ()),
        policy=options.policy(config, rules, upstream, plugin),
        logs=options.logs(log_format, log_level),
        said=options.said(context),
    )
    return end_like(execute(settings))


@app.command("up")
def serve_namespace(
    context: typer.Context,
    tun: options.Tun = defaults.TUN_DEFAULT,
    mtu: options.Mtu = defaults.MTU_DEFAULT,
    route: Annotated[
        list[str] | None,
        typer.Option(metavar="CIDR", help="What goes through tunproxy; default: everything. Repeatable."),
    ] = None,
    no_route: Annotated[
        bool,
        typer.Option("--no-route", help="Only make the TUN: somebody else gives it addresses and routes."),
    ] = False,
    mark: options.Mark = 0,
    bind_interface: options.BindInterface = "",
    udp_timeout: options.UdpTimeout = defaults.UDP_TIMEOUT_DEFAULT,
    memory: options.Memory = defaults.MEMORY_DEFAULT,
    worker_uid: Annotated[
        int | None,
        typer.Option(
            metavar="UID",
            parser=options.number,
            help="Who carries the packets; default: the user tunproxy, or a free uid.",
        ),
    ] = None,
    workers: options.Workers = 0,
    exclude_network: options.ExcludeNetwork = None,
    include_user: options.IncludeUser = None,
    exclude_user: options.ExcludeUser = None,
    forwarded: options.Forwarded = None,
    include_interface: options.IncludeInterface = None,
    exclude_interface: options.ExcludeInterface = None,
    direct_lane: options.DirectLane = None,
    kill_switch: options.KillSwitch = None,
    config: options.Config = "",
    rules: options.Rules = "",
    upstream: options.Upstream = "",
    plugin: options.Plugin = None,
    log_format: options.LogFormat = "",
    log_level: options.LogLevel = "",
) -> int:
    """Send all traffic of this host through tunproxy.

    That is, of this network namespace, until Ctrl-C or SIGTERM.

    Connected networks, answers of this host's servers, sockets bound to an interface or its address, and what
    is forwarded for others keep their direct way. Nothing stays behind that disturbs the network, not even
    after kill -9.
    """
    from tunproxy.control.rescue import HOLDS, holds_alone
    from tunproxy.control.up import up

    if no_route and route:
        raise typer.BadParameter("--route and --no-route exclude each other")
    settings = defaults.UpSettings(
        tun=tun,
        mtu=mtu,
        routes=() if no_route else tuple(route or defaults.EVERYTHING),
        mark=mark,
        bind_interface=bind_interface,
        udp_timeout=udp_timeout,
        memory=memory,
        worker_uid=worker_uid,
        workers=workers,
        capture=CaptureOptions(
            exclude_networks=options.given(exclude_network),
            include_users=options.given(include_user),
            exclude_users=options.given(exclude_user),
            forwarded=forwarded,
            include_interfaces=options.given(include_interface),
            exclude_interfaces=options.given(exclude_interface),
            direct_lane=direct_lane,
            kill_switch=kill_switch,
        ),
        policy=options.policy(config, rules, upstream, plugin),
        logs=options.logs(log_format, log_level),
        said=options.said(context),
    )
    try:
        return up(settings)
    except TunproxyError:
        if holds_alone():  # of an earlier run
            tell(HOLDS, ERROR)
        raise


@app.command("rescue")
def rescue_network(
    after_stop: Annotated[
        bool,
        typer.Option(
            "--after-stop",
            help="As systemd's ExecStopPost: a kill switch stays, unless tunproxy was told to stop.",
        ),
    ] = False,
) -> int:
    """Remove what a killed tunproxy up has left.

    That is policy rules that lead nowhere, and a socket that nobody listens at: the network works without
    this, too. With a kill switch it does not: that is undone. A running tunproxy is left alone.
    """
    from os import environ

    from tunproxy.control.rescue import HOLDS, rescue, rescue_after_service

    found, holds = rescue_after_service(environ) if after_stop else (rescue(), False)
    typer.echo(f"removed {', '.join(found)}" if found else "nothing was left")
    if holds:
        typer.echo(HOLDS)
    return 0


@app.command("check")
def check_config(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="Default: the one that would be used.")] = "",
    config: options.Config = "",
    rules: options.Rules = "",
    upstream: options.Upstream = "",
    plugin: options.Plugin = None,
) -> int:
    """Check a configuration and all that it names.

    Nothing is started or connected to. The exit code is 2 where something is wrong.
    """
    from tunproxy.cli.status_text import describe_policy
    from tunproxy.control.config.plugin_names import wrong_options
    from tunproxy.control.config.sources import read_sources
    from tunproxy.control.policy import build_policy, load_plugins

    if file and config:
        raise typer.BadParameter("FILE and --config exclude each other")
    sources = read_sources(options.policy(file or config, rules, upstream, plugin), keeps_good=True)
    placed: dict[str, str] = {}
    with plugin_commands.overheard() as said:
        try:
            with showing("reading rules and rule sets"):
                plugins = load_plugins(sources)
                placed = {each.message: str(each) for each in wrong_options(sources.document, plugins)}
                policy = build_policy(sources, plugins)
        except TunproxyError:  # which may be because of what was said
            for line in said:
                _tell(f"warning: {placed.get(line, line)}")
            raise
    defaults.with_device(defaults.PathSettings(), sources.config.device)
    for notice in policy.parts.notices:
        _tell(f"warning: {notice}")
    for line in policy.parts.unread():
        _tell(f"warning: {line}")
    said += [f"plugin {name} {why}" for name, why in plugins.problems.items()]
    for line in dict.fromkeys(said):
        _tell(f"warning: {placed.get(line, line)}")
    typer.echo(describe_policy(policy.summary()))
    return 0


@app.command("version")
def print_version() -> int:
    """Say which tunproxy this is, and whether it is compiled."""
    from tunproxy.version import describe

    typer.echo(describe())
    return 0


def _tell(line: str) -> None:
    with suppress(OSError):  # of which ``run`` tells, where something is printed
        sys.stdout.flush()
    tell(line, WARNING if line.startswith("warning: ") else ERROR)


def _one_line(message: str, command: str) -> str:
    """Return a library's message about how a command was called in the form of ours."""
    words = " ".join(message.split()).removesuffix(".")
    for theirs, ours in _WORDS.items():
        words = re.sub(theirs, ours, words)
    if command and words.startswith(_BARE) and "did you mean" not in words:
        words += f" (see {command} --help)"
    return words[:1].lower() + words[1:]
