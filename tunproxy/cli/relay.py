"""``tunproxy relay``: the other end of compressed and encrypted upstreams, and a proxy for others."""

import getpass
import logging
import sys
from typing import Annotated, Final

import typer
from msgspec import structs

from tunproxy.cli import options
from tunproxy.errors import ConfigError
from tunproxy.logs.levels import USUAL_OF_RELAYS
from tunproxy.logs.setup import AUTO, set_up

_log: Final = logging.getLogger(__name__)


def run_relay(
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="relay.toml; without one, what the options say.")
    ] = "",
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDR:PORT", help="Where clients come in; default: 127.0.0.1:8080. Repeatable."),
    ] = None,
    certificate: Annotated[
        str, typer.Option(metavar="FILE", help="Speak TLS as well, with this certificate, in PEM.")
    ] = "",
    key: Annotated[str, typer.Option(metavar="FILE", help="Its key, where it is not in the same file.")] = "",
    workers: Annotated[int | None, typer.Option(metavar="N", help="Processes; 0: one a processor.")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET", help="A network that may be reached although private. Repeatable."),
    ] = None,
    metrics: Annotated[str, typer.Option(metavar="ADDR:PORT", help="Where Prometheus asks.")] = "",
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Serve whoever comes, from anywhere, without a login.")
    ] = False,
    log_format: options.LogFormat = "",
    log_level: options.RelayLogLevel = "",
    check: Annotated[bool, typer.Option("--check", help="Only say whether all this can be used.")] = False,
    hash_password: Annotated[
        bool, typer.Option("--hash-password", help="Read a password, print what stands for it in relay.toml.")
    ] = False,
) -> int:
    """Be a proxy: HTTP CONNECT, connect-udp, SOCKS 5, Shadowsocks.

    All but Shadowsocks inside TLS or not, on one port.

    Runs until Ctrl-C or SIGTERM, and then until its flows have ended; a second one ends it at once.
    """
    from tunproxy.relay import settings
    from tunproxy.relay import workers as processes
    from tunproxy.relay.reading import check_whole, read_file
    from tunproxy.relay.tls_server import warnings
    from tunproxy.upstream.certificates import now_utc

    options.logs(log_format, log_level)
    if hash_password:
        return _print_hash()
    wanted = read_file(config) if config else settings.RelayConfig()
    if listen:
        wanted = structs.replace(wanted, listen=tuple(listen))
    if certificate:
        wanted = structs.replace(wanted, tls=settings.TlsTable(certificate=certificate, key=key))
    elif key:
        raise ConfigError("--key needs --certificate")
    if workers is not None:
        wanted = structs.replace(wanted, workers=workers)
    if allow:
        targets = structs.replace(wanted.targets, allow=(*wanted.targets.allow, *allow))
        wanted = structs.replace(wanted, targets=targets)
    if metrics:
        wanted = structs.replace(wanted, metrics=settings.MetricsTable(listen=metrics))
    if anonymous:
        wanted = structs.replace(wanted, anonymous=True)
    check_whole(wanted)
    cautions = warnings(wanted.tls.certificate, now_utc()) if wanted.tls is not None else []
    if check:
        for words in cautions:
            typer.echo(f"tunproxy: warning: {words}", err=True)
        typer.echo("this can be used")
        return 0
    log = wanted.log
    set_up(log_format or log.format or AUTO, log_level or log.level or USUAL_OF_RELAYS, names_all=True)
    for words in cautions:
        _log.warning("%s", words)
    return processes.serve(wanted)


def _print_hash() -> int:
    from tunproxy.relay.passwords import make_hash

    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise ConfigError("no password was given (type it, or give it as the first line of the input)")
    typer.echo(make_hash(password))
    return 0
