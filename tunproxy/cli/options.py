"""Options that several commands take; which values make sense is decided in ``control.settings``."""

from typing import Annotated

import typer


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
