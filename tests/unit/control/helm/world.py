"""A policy over a file, for what looks at it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from tests.unit.control.policies import plugins_for, sources_of, written
from tunproxy.control import keeper
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.control.policy import Surroundings
from tunproxy.flow.verdict import FlowInfo
from tunproxy.upstream.health import Health

TEXT = """
default = "DIRECT"
rules = [
  "DOMAIN,a.example,work",
  "RULE-SET,d,REJECT",
  "AND,((NETWORK,udp),(DST-PORT,443)),REJECT",
]
[dns]
mode = "off"
[upstreams.s5]
type = "socks5"
server = "127.0.0.1"
port = 1
[groups.work]
type = "select"
members = ["s5", "DIRECT", "fast"]
[groups.fast]
type = "url-test"
members = ["s5"]
url = "http://127.0.0.1/"
[groups.many]
type = "load-balance"
members = ["s5"]
[rule-sets.d]
path = "d.txt"
format = "text"
behavior = "domain"
"""


@contextlib.contextmanager
def keeping(folder: Path, health: Health | None = None, text: str = TEXT) -> Iterator[PolicyKeeper]:
    """Give a keeper of the policy of text."""
    path = written(folder, text, d_txt="x.example\n+.y.example\n")
    with mock.patch.object(keeper, "load_plugins", plugins_for):
        yield PolicyKeeper(sources_of(path), Surroundings(health=health))


def info_to(host: str, port: int = 80, network: str = "tcp") -> FlowInfo:
    info = FlowInfo(network, bytes([10, 0, 0, 2]), 4000, bytes([192, 0, 2, 1]), port)
    info.name, info.name_from = host, "dns" if host else ""
    return info
