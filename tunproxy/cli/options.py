"""Options that several commands take; which values make sense is decided in ``control.settings``."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any

import typer

from tunproxy.control.log_options import LogOptions
from tunproxy.control.settings import PolicyOptions, count_of_workers, octets
from tunproxy.errors import ConfigError
from tunproxy.host.arguments import hide_arguments
from tunproxy.logs.levels import LEVELS, USUAL, USUAL_OF_RELAYS
from tunproxy.logs.setup import FORMATS
from tunproxy.secret import Secret
from tunproxy.upstream.types import passwords_in


def number(text: str | int) -> int:
    """Return the number that text writes in decimal, or in hexadecimal after 0x, as marks mostly are."""
    try:
        return int(str(text), 0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


def seconds(text: str | float) -> float:
    """Return the number of seconds that text writes."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


def size(text: str | int) -> int:
    """Return the octets that text writes: a whole number, with K, M or G for powers of 1024."""
    try:
        return octets(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def worker_number(text: str | int) -> int:
    """Return the number of workers that text writes, 0 for auto, which is the default."""
    try:
        return text if isinstance(text, int) else count_of_workers(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def log_format(text: str) -> str:
    """Return the form of lines that text names; "" is left open."""
    return _one_of(text, FORMATS)


def log_level(text: str) -> str:
    """Return the level that text names; "" is left open."""
    return _one_of(text, LEVELS)


def logs(form: str, level: str) -> LogOptions:
    """Return what the two options say together, and have errors of ours look like that from now on."""
    found = LogOptions(form, level)
    if form or level:
        found.set_up()
    return found


def _one_of(text: str, known: Collection[str]) -> str:
    if text and text not in known:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(known)}")
    return text


def said(context: typer.Context) -> frozenset[str]:
    """Return the names of the options that the command line has: the configuration does not change them."""
    sources = ((name, context.get_parameter_source(name)) for name in context.params)
    return frozenset(name for name, source in sources if source is not None and source.name == "COMMANDLINE")


def given(values: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return what a repeatable option has, None where it is not there."""
    return tuple(values) if values else None


def policy(config: str, rules: str, upstream: str, plugin: Sequence[str] | None = None) -> PolicyOptions:
    """Return what the four options say together. From now on ps shows no password of the upstream."""
    if upstream:
        hide_arguments(passwords_in(upstream))
    return PolicyOptions(config=config, rules=rules, upstream=Secret(upstream), plugins=tuple(plugin or ()))


def check_which(tun: str, socket: str) -> None:
    """Refuse options that say twice which running tunproxy is meant."""
    if tun and socket:
        raise typer.BadParameter("--tun and --socket exclude each other")


# which running tunproxy is meant: any, or an up
WhichTun = Annotated[
    str, typer.Option("--tun", metavar="NAME", help="Which tunproxy: its TUN device, or exec-PID.")
]
WhichUp = Annotated[str, typer.Option("--tun", metavar="NAME", help="Which tunproxy: its TUN device.")]
WhichSocket = Annotated[
    str, typer.Option("--socket", metavar="PATH", help="Which tunproxy: its control socket.")
]

Tun = Annotated[str, typer.Option("--tun", metavar="NAME", help="Name of the TUN device.")]
Mtu = Annotated[
    int, typer.Option("--mtu", metavar="N", parser=number, help="Size of a packet in the TUN, in octets.")
]
Mark = Annotated[
    int, typer.Option("--mark", metavar="N", parser=number, help="Mark (fwmark) of our own sockets; 0: none.")
]
BindInterface = Annotated[
    str, typer.Option("--bind-interface", metavar="IF", help="Interface that our own sockets are bound to.")
]
UdpTimeout = Annotated[
    float,
    typer.Option(
        "--udp-timeout", metavar="SECONDS", parser=seconds, help="How long a silent UDP flow is remembered."
    ),
]
ExcludeNetwork = Annotated[
    list[str] | None,
    typer.Option("--exclude-network", metavar="CIDR", help="Targets that are left alone. Repeatable."),
]
IncludeUser = Annotated[
    list[str] | None,
    typer.Option(
        "--include-user",
        metavar="USER",
        help="Only these users' programs are captured: alice, 1000, 1000-1999. Repeatable.",
    ),
]
ExcludeUser = Annotated[
    list[str] | None,
    typer.Option("--exclude-user", metavar="USER", help="Users whose programs are left alone. Repeatable."),
]
Forwarded = Annotated[
    bool | None,
    typer.Option(
        "--forwarded/--no-forwarded",
        help="Capture what this host forwards, too: containers, VMs, a network it routes for.",
        show_default="no",
    ),
]
IncludeInterface = Annotated[
    list[str] | None,
    typer.Option(
        "--include-interface", metavar="IF", help="With --forwarded, only what comes in here. Repeatable."
    ),
]
ExcludeInterface = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-interface", metavar="IF", help="With --forwarded, not what comes in here. Repeatable."
    ),
]
DirectLane = Annotated[
    bool | None,
    typer.Option(
        "--direct-lane/--no-direct-lane",
        help="Have the kernel carry what rules send DIRECT by its address alone.",
        show_default="no",
    ),
]
KillSwitch = Annotated[
    bool | None,
    typer.Option(
        "--kill-switch/--no-kill-switch",
        help="Let nothing leave but through tunproxy, even after it was killed, until tunproxy rescue.",
        show_default="no",
    ),
]
Memory = Annotated[
    int,
    typer.Option(
        "--memory",
        metavar="SIZE",
        parser=size,
        help="What all flows together may hold.",
        show_default="256M",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="N|auto",
        parser=worker_number,
        help="Processes that carry packets: one for two processors, unless given.",
        show_default="auto",
    ),
]
Config = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration; default: tunproxy/tunproxy.toml in ~/.config or /etc.",
    ),
]
Rules = Annotated[
    str, typer.Option("--rules", metavar="FILE", help="Rules, in place of those of the configuration.")
]
Upstream = Annotated[
    str,
    typer.Option(
        "--upstream",
        metavar="URL",
        help="Where everything goes that no rule decides: socks5://user:pass@host:port, http://, https://, "
        "ss://, tls://, …. Without --config no file is read. UDP that it cannot carry is refused, but DNS "
        "goes direct.",
    ),
]
LogFormat = Annotated[
    str,
    typer.Option(
        "--log-format",
        metavar="|".join(FORMATS),
        parser=log_format,
        help="How lines about what happens look; auto: the journal's fields where systemd reads them.",
        show_default="auto",
    ),
]


def _level_option(usual: str) -> Any:  # Any: typer's own
    return typer.Option(
        "--log-level",
        metavar="|".join(LEVELS),
        parser=log_level,
        help="What a line must matter at least to be written.",
        show_default=usual,
    )


LogLevel = Annotated[str, _level_option(USUAL)]
RelayLogLevel = Annotated[str, _level_option(USUAL_OF_RELAYS)]
Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A plugin in a file, besides those of the folder; loaded anew when it is saved. Repeatable.",
    ),
]
