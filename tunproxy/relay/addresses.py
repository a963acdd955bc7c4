"""Where the relay listens, as users write it: ``192.0.2.1:8080``, ``[::]:8080``, ``:8080`` for everywhere."""

import ipaddress
from dataclasses import dataclass

from tunproxy.errors import ConfigError


@dataclass(frozen=True)
class Listen:
    """A numeric address and a port; port 0 is any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can come in."""
        return ipaddress.ip_address(self.host).is_loopback


def parse_listen(text: str) -> Listen:
    """Return what text says; raises ConfigError."""
    host, colon, port = text.strip().rpartition(":")
    try:
        if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
            raise ValueError
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError
        return Listen(str(ipaddress.ip_address(host.strip("[]") or "::")), int(port))
    except ValueError:
        raise ConfigError(
            f"{text!r} is nowhere to listen (such as 192.0.2.1:8080, [::]:8080, :8080)"
        ) from None


def peer_name(address: tuple[object, ...]) -> str:
    """Return a socket's address for people; an IPv4 one in IPv6's clothes as itself."""
    host, port = str(address[0]).removeprefix("::ffff:"), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
