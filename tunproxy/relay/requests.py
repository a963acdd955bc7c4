"""What clients ask for, whichever protocol they speak."""

from dataclasses import dataclass
from typing import Final

CONNECT: Final = "connect"
CONNECT_UDP: Final = "connect-udp"
ASSOCIATE: Final = "associate"


@dataclass(frozen=True)
class Request:
    """One request. user is who asks, after a check; codecs what a client would like its stream to be in.

    host is what the client has said, and may be anything; ``str`` has nothing in it that would begin a line.
    """

    command: str
    protocol: str  # one of metrics.PROTOCOLS
    host: str
    port: int
    user: str
    codecs: str = ""

    def __str__(self) -> str:
        host = self.host if self.host.isprintable() else ascii(self.host)[1:-1]
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{self.port}"
