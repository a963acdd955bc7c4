"""A flow that nobody has made, put into words: what ``tunproxy explain`` is asked about.

target = [ network ":" ] place           udp:1.1.1.1:53     icmp:1.1.1.1     tcp:example.org:443
       / host [ ":" port ] "/" network   1.1.1.1:53/udp     as in expectations beside rules
place  = host [ ":" port ] / url         example.org        [2001:db8::1]:80 https://example.org/x
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final  # Any: as JSON gives it

from tunproxy.errors import ConfigError

NETWORKS: Final = ("tcp", "udp", "icmp")
_PORTS: Final = {"http": 80, "https": 443, "ssh": 22, "dns": 53}
_DEFAULT_PORTS: Final = {"tcp": 443, "udp": 443, "icmp": 0}
_MAX_NAME: Final = 253  # RFC 1035 §2.3.4


@dataclass(frozen=True, slots=True)
class Question:
    """What is known of the flow. host is a name and address an address; of the two one may be "".

    source is "" for the client that there usually is. process is a program's name or path, or a pid; uid -1
    is that process's own.
    """

    network: str
    host: str
    address: str
    port: int
    source: str = ""
    source_port: int = 0
    process: str = ""
    uid: int = -1

    def to_json(self) -> dict[str, Any]:
        """Return it as what goes over the control socket."""
        return asdict(self)

    @property
    def shown(self) -> str:
        """The target as people write it."""
        place = self.host or self.address
        if self.network == "icmp":
            return f"icmp:{place}"
        place = f"[{place}]:{self.port}" if ":" in place else f"{place}:{self.port}"
        return place if self.network == "tcp" else f"{self.network}:{place}"


def parse_question(
    target: str, *, source: str = "", host: str = "", process: str = "", uid: int = -1
) -> Question:
    """Return the question; raises ConfigError that says what is wrong.

    source is an address with or without a port, host the name that the client means by target, an address.
    """
    network, place = _network(target)
    named, place = _without_url(place, target)
    name, port = _split(place, target)
    if port < 0:
        port = named if named >= 0 else _DEFAULT_PORTS[network]
    address = _as_address(name)
    name = "" if address else _name(name, target)
    if host:
        if name:
            raise ConfigError(f"cannot explain {target!r} with another host: it has a name already")
        name = _name(host, host)
    client, client_port = _split(source, source) if source else ("", -1)
    if source and not _as_address(client):
        raise ConfigError(f"cannot explain a flow from {source!r}: this is no address")
    if not -1 <= uid < 1 << 32:
        raise ConfigError(f"cannot explain a flow of user {uid}: there is no such number")
    return Question(network, name, address, port, _as_address(client), max(client_port, 0), process, uid)


def question_from(document: object) -> Question:
    """Return what came over the control socket; raises ConfigError where it is no question."""
    if not isinstance(document, Mapping):
        raise ConfigError("this is no question: no object")
    try:
        question = Question(**document)
    except TypeError as error:
        raise ConfigError(f"this is no question: {error}") from error
    if not all(isinstance(getattr(question, name), str) for name in ("network", "host", "address", "source")):
        raise ConfigError("this is no question: a text is none")
    if question.network not in NETWORKS or not (question.host or question.address):
        raise ConfigError("this is no question: a flow has a network and a target")
    for number, most in ((question.port, 0xFFFF), (question.source_port, 0xFFFF), (question.uid, 1 << 32)):
        if type(number) is not int or not -1 <= number <= most:
            raise ConfigError(f"this is no question: {number!r} is no such number")
    for address in (question.address, question.source):
        if address and not _as_address(address):
            raise ConfigError(f"this is no question: {address!r} is no address")
    if not isinstance(question.process, str):
        raise ConfigError("this is no question: a text is none")
    return question


def _network(target: str) -> tuple[str, str]:
    head, colon, rest = target.partition(":")
    if colon and head.lower() in NETWORKS:
        return head.lower(), rest.removeprefix("//")
    place, slash, tail = target.rpartition("/")
    if slash and tail.lower() in NETWORKS and "/" not in place:  # which a URL has
        return tail.lower(), place
    return "tcp", target


def _without_url(place: str, target: str) -> tuple[int, str]:
    """Return the port that a URL's scheme stands for, -1 for none, and the URL's host and port."""
    scheme, slashes, rest = place.partition("://")
    if not slashes:
        return -1, place
    if scheme.lower() not in _PORTS:
        raise ConfigError(f"cannot explain {target!r}: unknown scheme {scheme!r} ({', '.join(_PORTS)})")
    rest = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    return _PORTS[scheme.lower()], rest.rpartition("@")[2]


def _split(place: str, target: str) -> tuple[str, int]:
    """Return host and port, -1 where there is none."""
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"cannot explain {target!r}: write [2001:db8::1]:443")
        tail = rest[1:]
    elif place.count(":") > 1:
        return place, -1
    else:
        host, _, tail = place.partition(":")
    if not host:
        raise ConfigError(f"cannot explain {target!r}: it names no target (write example.org:443)")
    if not tail:
        return host, -1
    if not (tail.isascii() and tail.isdigit() and int(tail[:6]) <= 0xFFFF):
        raise ConfigError(f"cannot explain {target!r}: {tail!r} is no port (0 to 65535)")
    return host, int(tail)


def _as_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _name(text: str, target: str) -> str:
    """Return a host name as rules compare it."""
    name = text.lower().removesuffix(".")
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            name = ""
    labels = name.split(".")
    good = all(
        label and len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() for label in labels
    )
    if not good or len(name) > _MAX_NAME:
        raise ConfigError(f"cannot explain {target!r}: {text!r} is neither a host name nor an address")
    return name
