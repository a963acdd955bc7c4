"""Options that several commands take; which values make sense is decided in ``control.settings``."""

from collections.abc import Sequence
from typing import Annotated

import typer

from tunproxy.control.settings import PolicyOptions, octets
from tunproxy.errors import ConfigError
from tunproxy.host.arguments import hide_arguments
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


def said(context: typer.Context) -> frozenset[str]:
    """Return the names of the options that the command line has: the configuration does not change them."""
    sources = ((name, context.get_parameter_source(name)) for name in context.params)
    return frozenset(name for name, source in sources if source is not None and source.name == "COMMANDLINE")


def policy(config: str, rules: str, upstream: str, plugin: Sequence[str] | None = None) -> PolicyOptions:
    """Return what the four options say together. From now on ps shows no password of the upstream."""
    if upstream:
        hide_arguments(passwords_in(upstream))
    return PolicyOptions(config=config, rules=rules, upstream=Secret(upstream), plugins=tuple(plugin or ()))


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
        "ss://. Without --config no file is read. UDP that it cannot carry is refused, but DNS goes direct.",
    ),
]
Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A plugin in a file, besides those of the folder; loaded anew when it is saved. Repeatable.",
    ),
]
