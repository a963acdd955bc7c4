"""The TCP port for dashboards, where the configuration wants one: on loopback only, and with a secret.

Whoever wants it elsewhere puts something in front that speaks TLS, or comes through SSH.
"""

import ipaddress
import socket
from dataclasses import dataclass
from typing import Final

from tunproxy.control.clash.state_files import StateFiles
from tunproxy.control.config.schema import ApiConfig
from tunproxy.errors import ConfigError, SystemChangeError, TunproxyError
from tunproxy.secret import Secret

BACKLOG: Final = 64
MIN_SECRET: Final = 8  # letters: less can be guessed by whoever may connect


@dataclass(frozen=True)
class Access:
    """What the configuration says of who may ask over TCP."""

    secret: Secret
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listening:
    """An open port, who may ask there, and what the user is told of it."""

    listener: socket.socket
    access: Access
    line: str


def place_of(listen: str) -> tuple[str, int]:
    """Return address and port of "127.0.0.1:9090" or "[::1]:9090"; raises ConfigError for anything else."""
    host, _, port = listen.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ConfigError(f"{listen!r} is no address with a port (write 127.0.0.1:9090)") from None
    if not address.is_loopback:
        raise ConfigError(f"{address} is not on loopback, and there is no TLS (write 127.0.0.1:9090)")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):
        raise ConfigError(f"{port!r} is no port (1 to 65535)")
    return str(address), int(port)


def problem_of(config: ApiConfig) -> tuple[str, str] | None:
    """Return the key that is wrong in [api], and why; None where all is well."""
    if config.listen:
        try:
            place_of(config.listen)
        except ConfigError as error:
            return "listen", str(error)
    if config.secret and len(config.secret.reveal()) < MIN_SECRET:
        return "secret", f"a secret has {MIN_SECRET} letters at least (without one, one is generated)"
    for origin in config.allow_origins:
        if not origin.startswith(("http://", "https://")) or origin.count("/") > 2:
            return "allow-origins", f"{origin!r} is no origin (write https://dashboard.example)"
    return None


def listen_or_tell(config: ApiConfig, state: StateFiles) -> tuple[Listening | None, list[str]]:
    """Return the open port, None for none, and what to tell the user, also of what went wrong."""
    try:
        found = listen(config, state)
    except TunproxyError as error:
        return None, [str(error)]
    return found, [] if found is None else [found.line]


def listen(config: ApiConfig, state: StateFiles) -> Listening | None:
    """Return the open port, None where none is wanted; raises ConfigError and SystemChangeError."""
    if not config.listen:
        return None
    host, port = place_of(config.listen)
    secret, whence = config.secret, "the configuration has its secret"
    if not secret:
        secret, path = state.secret()
        whence = f"its secret is in {path}"
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SystemChangeError(f"cannot listen at {config.listen}: {why} (see listen in [api])") from error
    listener.setblocking(False)
    access = Access(secret, config.allow_hosts, config.allow_origins)
    return Listening(listener, access, f"api for dashboards at http://{config.listen}, {whence}")
