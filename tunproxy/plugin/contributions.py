"""What plugins may contribute, and the checks that nothing else gets in."""

import dataclasses
import ipaddress
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from tunproxy.flow.codec import Codec
from tunproxy.plugin.options import build_options
from tunproxy.rules.facts import NEED_NAMES, Facts
from tunproxy.rules.kinds import KINDS
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.types import UpstreamType

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")

_KIND_NAME: Final = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*")
_COMMAND_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


class RuleTest(Protocol):
    """A condition of a rule, ready to be asked about flows."""

    def match(self, facts: Facts) -> bool | None:
        """Say whether the flow meets the condition; None for want of a fact that the kind needs."""


@dataclass(frozen=True)
class RuleKind:
    """A type of rule: ``NAME,payload,target``. name is in capitals, like ``OFFICE-HOURS``.

    make gets the payload and returns what flows are asked with; it raises ValueError where the payload is
    wrong, and the rule is an error with line and column. needs names the facts whose lack makes match
    return None: "name", "address", "process", "time"; they are found out, and match is called again.
    """

    name: str
    make: Callable[[str], RuleTest]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class CodecType:
    """A kind of codec. options is a dataclass, as those of upstream types; make returns a new codec.

    compresses and encrypts say what it does, as what is encrypted must not be compressed afterwards: that
    costs time and wins nothing.
    """

    name: str
    options: type
    make: Callable[[Any], Codec]  # Any: an instance of options
    compresses: bool = False
    encrypts: bool = False

    def build(self, table: Mapping[str, object]) -> Codec:
        """Return a codec for one flow; raises ConfigError naming the option that is wrong."""
        codec = self.make(build_options(f"codec {self.name!r}", self.options, table))
        if not isinstance(codec, Codec):
            raise TypeError(f"codec {self.name!r}: {codec!r} is no codec")
        return codec


class Resolver(ABC):
    """Finds the addresses of names, under the name that the configuration knows it by."""

    def __init__(self, name: str) -> None:
        self.name: Final = name

    @abstractmethod
    async def resolve(self, name: str) -> Sequence[str]:
        """Return the addresses of a host name, best first; none: there is no such name.

        Runs on the loop of the packet path, many at a time: await what takes time. Raises OSError when the
        answer could not be had.
        """


@dataclass(frozen=True)
class Route:
    """A part of the API: path, below ``/plugins/PLUGIN``, begins with a slash; "" is that itself.

    handler is a coroutine that gets an ``aiohttp.web.Request`` and returns a response, or anything that is
    written as JSON.
    """

    method: str
    path: str
    handler: Callable[[Any], Awaitable[object]]  # Any: aiohttp is loaded only when somebody asks


@dataclass(frozen=True)
class Command:
    """A command, ``tunproxy NAME``; app is a ``typer.Typer``."""

    name: str
    app: Any  # typer is loaded by the command line only


Named = TypeVar("Named", Upstream, UpstreamType, RuleKind, CodecType, Resolver, Command)


def options_schema(answer: object) -> type | None:
    """Return the dataclass that a plugin's options are; raises TypeError where it is none."""
    if answer is None:
        return None
    if not isinstance(answer, type) or not dataclasses.is_dataclass(answer):
        raise TypeError(f"{answer!r} is no dataclass of options")
    return answer


def upstreams_in(answer: object) -> Iterable[Upstream]:
    """Yield the upstreams of an answer; raises TypeError at the first thing that is none."""
    for upstream in _things_in(answer, "upstreams"):
        if not isinstance(upstream, Upstream) or not isinstance(upstream.name, str) or not upstream.name:
            raise TypeError(f"{upstream!r} is no upstream with a name")
        yield upstream


def upstream_types_in(answer: object) -> Iterable[UpstreamType]:
    """Yield the upstream types of an answer; raises TypeError at the first thing that is none."""
    for kind in _things_in(answer, "upstream types"):
        if not isinstance(kind, UpstreamType) or not dataclasses.is_dataclass(kind.options):
            raise TypeError(f"{kind!r} is no upstream type with a dataclass of options")
        yield kind


def rule_kinds_in(answer: object) -> Iterable[RuleKind]:
    """Yield the rule kinds of an answer; raises TypeError or ValueError at the first that cannot be."""
    for kind in _things_in(answer, "rule kinds"):
        if not isinstance(kind, RuleKind) or not callable(kind.make):
            raise TypeError(f"{kind!r} is no rule kind with a make")
        if not isinstance(kind.name, str) or not _KIND_NAME.fullmatch(kind.name):
            raise ValueError(f"{kind.name!r} is no name for a rule kind (write OFFICE-HOURS)")
        if kind.name in KINDS:
            raise ValueError(f"there is a rule kind {kind.name!r} built in")
        for need in kind.needs:
            if need not in NEED_NAMES:
                raise ValueError(f"{kind.name} needs {need!r}, which is no fact ({', '.join(NEED_NAMES)})")
        yield kind


def codec_types_in(answer: object) -> Iterable[CodecType]:
    """Yield the codec types of an answer; raises TypeError at the first thing that is none."""
    for kind in _things_in(answer, "codec types"):
        if not isinstance(kind, CodecType) or not dataclasses.is_dataclass(kind.options) or not kind.name:
            raise TypeError(f"{kind!r} is no codec type with a name and a dataclass of options")
        yield kind


def resolvers_in(answer: object) -> Iterable[Resolver]:
    """Yield the resolvers of an answer; raises TypeError at the first thing that is none."""
    for resolver in _things_in(answer, "resolvers"):
        if not isinstance(resolver, Resolver) or not isinstance(resolver.name, str) or not resolver.name:
            raise TypeError(f"{resolver!r} is no resolver with a name")
        yield resolver


def routes_in(answer: object) -> Iterable[Route]:
    """Yield the routes of an answer; raises TypeError or ValueError at the first that cannot be."""
    for route in _things_in(answer, "routes"):
        if not isinstance(route, Route) or not callable(route.handler):
            raise TypeError(f"{route!r} is no route with a handler")
        if route.method not in METHODS:
            raise ValueError(f"{route.method!r} is no method ({', '.join(METHODS)})")
        if not isinstance(route.path, str) or (route.path and not route.path.startswith("/")):
            raise ValueError(f"{route.path!r} is no path that begins with a slash")
        yield route


def commands_in(answer: object) -> Iterable[Command]:
    """Yield the commands of an answer; raises TypeError or ValueError at the first that cannot be."""
    for command in _things_in(answer, "commands"):
        if not isinstance(command, Command) or not hasattr(command.app, "registered_commands"):
            raise TypeError(f"{command!r} is no command with a typer app")
        if not isinstance(command.name, str) or not _COMMAND_NAME.fullmatch(command.name):
            raise ValueError(f"{command.name!r} is no name for a command")
        yield command


def addresses_in(answer: object) -> tuple[str, ...]:
    """Return the addresses that a resolver answered; raises TypeError or ValueError where they are none."""
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        raise TypeError(f"{answer!r} is no list of addresses")
    return tuple(str(ipaddress.ip_address(address)) for address in answer)


def _things_in(answer: object, what: str) -> Iterable[object]:
    if answer is None:
        return ()
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        raise TypeError(f"{answer!r} is no list of {what}")
    return answer
