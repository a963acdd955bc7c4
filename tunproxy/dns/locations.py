"""How people write down where a resolver is.

    1.1.1.1   udp://1.1.1.1   udp://[2606:4700::1111]:53   tcp://9.9.9.9   tls://dns.example@192.0.2.1:853
    tls://dns.example   https://dns.example/dns-query   https://dns.example@192.0.2.1/dns-query

Before the @ is the name that the resolver has to prove, behind it the address to connect to. Where there is
no address, the name is looked up by others, who have one (``Bootstrap``).
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tunproxy.dns.transport import is_address
from tunproxy.errors import ConfigError

_PORTS: Final = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}  # RFC 1035, RFC 7858, RFC 8484


@dataclass(frozen=True)
class Location:
    """A resolver as it was written: scheme, host (a name or an address), port; address "" where unknown."""

    text: str
    scheme: str
    host: str
    port: int
    address: str = ""
    path: str = ""

    @property
    def needs_bootstrap(self) -> bool:
        """Whether somebody has to be asked for the address first."""
        return not self.address


def parse_location(text: str) -> Location:
    """Return where text says a resolver is; raises ConfigError."""
    written = text.strip()
    if is_address(written):
        return Location(text, "udp", written, 53, written)
    if "://" not in written:
        written = f"udp://{written}"
    try:
        parts = urlsplit(written)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise ConfigError(f"resolver {text!r}: {error}") from error
    if parts.scheme not in _PORTS:
        raise ConfigError(f"resolver {text!r}: no way {parts.scheme!r} to it (use udp, tcp, tls or https)")
    if not host or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"resolver {text!r}: not an address or URL (write it like tls://dns.example@192.0.2.1)"
        )
    if parts.path not in ("", "/") and parts.scheme != "https":
        raise ConfigError(f"resolver {text!r}: only https has a path")
    name, address = parts.username or host, host if is_address(host) else ""
    if parts.username and not address:
        raise ConfigError(f"resolver {text!r}: behind the @ belongs an address")
    if not _is_host(name):
        raise ConfigError(f"resolver {text!r}: {name!r} is no host name")
    path = parts.path or "/dns-query" if parts.scheme == "https" else ""
    return Location(text, parts.scheme, name, port or _PORTS[parts.scheme], address, path)


def _is_host(name: str) -> bool:
    """Tell whether name is an address, or labels that a host name may have.

    One that ends in a number is meant as an address (RFC 3696 §2), and is a wrong one.
    """
    if is_address(name):
        return True
    labels = name.rstrip(".").split(".")
    if labels[-1].isdigit():
        return False
    return all(0 < len(each) < 64 and each.replace("-", "").replace("_", "").isalnum() for each in labels)
