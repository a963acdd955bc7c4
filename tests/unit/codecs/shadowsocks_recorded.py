"""What other programs have said to each other (``recorded/record_shadowsocks.py``)."""

import json
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

from tunproxy.codecs.shadowsocks_keys import Keys, ServerKeys, client_keys, server_keys

WORDS = b"recorded: what a program says first"
ECHO = (bytes([127, 0, 0, 1]), 7007)


@dataclass(frozen=True)
class Recorded:
    """One pair of programs: a stream and a datagram, each way, and the second when it was."""

    program: str
    method: str
    keys: Keys
    server_keys: ServerKeys
    now: float
    up: bytes
    down: bytes
    datagram_up: bytes
    datagram_down: bytes


def recordings() -> list[Recorded]:
    """Read the file."""
    found = []
    for each in json.loads(Path(__file__).with_name("recorded").joinpath("shadowsocks.json").read_text()):
        own, user = each["password"], each["user"]
        keys = client_keys(each["method"], f"{own}:{user}" if user else own)
        servers = server_keys(each["method"], own, {"joe": user} if user else None)
        octets = [b64decode(each[name]) for name in ("up", "down", "datagram_up", "datagram_down")]
        found.append(Recorded(each["program"], each["method"], keys, servers, each["time"], *octets))
    return found
