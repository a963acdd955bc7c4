"""UDP to one target inside a stream: the upgrade to connect-udp (RFC 9298 §3.2, §3.3), without I/O."""

import re
import socket
from typing import Final
from urllib.parse import quote

from tunproxy.plugin.api import UDP, FlowInfo, OpenError

from .connect import HttpConversation, failure_of

_UPGRADE: Final = re.compile(rb"(?im)^upgrade:[ \t]*connect-udp[ \t]*\r?$")

# What says that a server knows nothing of this: it takes the request for one that a web server is asked.
_UNKNOWN: Final = frozenset({400, 404, 405, 426, 501})
SWITCHED: Final = 101


class UdpConversation(HttpConversation):
    """Asks the proxy at authority for datagrams to info's target; login is as ``ConnectConversation`` has it.

    Behind the answer the stream consists of capsules.
    """

    def __init__(self, authority: str, info: FlowInfo, login: str = "") -> None:
        host = info.host or socket.inet_ntop(info.family, info.target)
        path = f"/.well-known/masque/udp/{quote(host, safe='')}/{info.target_port}/"
        lines = [f"GET {path} HTTP/1.1", f"Host: {authority}", "Connection: Upgrade"]
        lines += ["Upgrade: connect-udp", "Capsule-Protocol: ?1"]
        super().__init__(lines, login, SWITCHED)

    def on_answer(self, code: int, reason: str, head: bytes) -> None:
        if code == SWITCHED and _UPGRADE.search(head) is not None:
            self.rest = self._heard
        elif code < 300 or code in _UNKNOWN:
            said = f"{code} {reason}".rstrip()
            raise OpenError(f"the proxy carries no UDP (connect-udp): {said}", lacks=UDP)
        else:
            raise failure_of(code, reason)
