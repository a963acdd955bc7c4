"""What is captured: [capture] and the options of ``up`` become a scope for the policy rules.

Every error is a ConfigError, and says which key it is about.
"""

import dataclasses
import pwd
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final  # Any: fields, by name

from tunproxy.device.tun import check_name
from tunproxy.errors import ConfigError
from tunproxy.host.addresses import Network
from tunproxy.host.cgroups import EXCLUDED, INCLUDED
from tunproxy.host.rules import LOOPBACK
from tunproxy.host.scope import MAX_UID, Scope, Uids

if TYPE_CHECKING:
    from tunproxy.control.config.schema import CaptureConfig, DnsConfig

_ALL_BITS: Final = 0xFFFF_FFFF
_RANGE: Final = re.compile(r"(\d+)-(\d+)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class CaptureOptions:
    """The keys of [capture], with "_" for "-"; None for what is not said."""

    include_networks: tuple[str, ...] | None = None
    exclude_networks: tuple[str, ...] | None = None
    include_users: tuple[str | int, ...] | None = None
    exclude_users: tuple[str | int, ...] | None = None
    forwarded: bool | None = None
    include_interfaces: tuple[str, ...] | None = None
    exclude_interfaces: tuple[str, ...] | None = None
    include_cgroups: tuple[str, ...] | None = None
    exclude_cgroups: tuple[str, ...] | None = None
    exclude_marks: tuple[str | int, ...] | None = None
    direct_lane: bool | None = None
    kill_switch: bool | None = None

    def over(self, config: "CaptureConfig") -> "CaptureOptions":
        """Return these where they are said, and else what the configuration says."""
        names = [field.name for field in dataclasses.fields(self)]
        said: dict[str, Any] = {name: getattr(self, name) for name in names}
        return CaptureOptions(
            **{name: getattr(config, name) if value is None else value for name, value in said.items()}
        )

    def check(self) -> None:
        """Raise ConfigError for the first thing that cannot be."""
        for (key, *_), check in self._checks():
            try:
                check()
            except ConfigError as error:
                raise ConfigError(f"[capture] {key}: {error}") from error

    def problems(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Return what cannot be, each with the path of its key below [capture]."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for path, check in self._checks():
            try:
                check()
            except ConfigError as error:
                found.append((path, str(error)))
        return found

    def scope(self, dns: "DnsConfig", *, answers_names: bool) -> Scope:
        """Return what the policy rules need to know; answers_names says that we answer port 53.

        Raises ConfigError.
        """
        self.check()
        spared = tuple(ip_address(each) for each in dns.hijack_except)
        include = self.include_users
        return Scope(
            forwarded=bool(self.forwarded),
            interfaces=self.include_interfaces or (),
            excluded_interfaces=self.exclude_interfaces or (),
            users=tuple(map(users_of, include)) if include else None,
            excluded_users=tuple(map(users_of, self.exclude_users or ())),
            excluded=tuple(map(network_of, self.exclude_networks or ())),
            marks=tuple(map(mark_of, self.exclude_marks or ())),
            only_cgroups=bool(self.include_cgroups),
            spares_cgroups=bool(self.exclude_cgroups),
            dns=answers_names,
            dns_except=spared if answers_names else (),
            has_lane=bool(self.direct_lane),
        )

    def cgroups(self) -> dict[str, int]:
        """Return the control groups whose sockets are to be marked, with the bit of each."""
        included = dict.fromkeys(self.include_cgroups or (), INCLUDED)
        return included | dict.fromkeys(self.exclude_cgroups or (), EXCLUDED)

    def _checks(self) -> Iterator[tuple[tuple[str | int, ...], Callable[[], object]]]:
        """Yield the path of each value with what raises ConfigError for a wrong one."""
        for key, networks in (
            ("include-networks", self.include_networks),
            ("exclude-networks", self.exclude_networks),
        ):
            for number, network in enumerate(networks or ()):
                yield (key, number), partial(network_of, network)
        for key, users in (("include-users", self.include_users), ("exclude-users", self.exclude_users)):
            for number, user in enumerate(users or ()):
                yield (key, number), partial(users_of, user)
        for key, interfaces in (
            ("include-interfaces", self.include_interfaces),
            ("exclude-interfaces", self.exclude_interfaces),
        ):
            for number, interface in enumerate(interfaces or ()):
                yield (key, number), partial(_interface, interface)
            if interfaces and not self.forwarded:
                yield (key,), _only_forwarded
        for key, groups in (
            ("include-cgroups", self.include_cgroups),
            ("exclude-cgroups", self.exclude_cgroups),
        ):
            for number, group in enumerate(groups or ()):
                yield (key, number), partial(_cgroup, group)
        both = set(self.include_cgroups or ()) & set(self.exclude_cgroups or ())
        if both:
            yield ("exclude-cgroups",), partial(_both, min(both))
        if self.kill_switch and self.direct_lane:
            yield ("kill-switch",), _lane_goes_past
        if self.kill_switch and self.include_cgroups:
            yield ("kill-switch",), _groups_end_with_us
        for number, mark in enumerate(self.exclude_marks or ()):
            yield ("exclude-marks", number), partial(mark_of, mark)


def users_of(said: str | int) -> Uids:
    """Return the range of users that a name, a number, or "1000-1999" means. Raises ConfigError."""
    text = str(said)
    found = _RANGE.fullmatch(text)
    if found is not None:
        first, last = int(found[1]), int(found[2])
        if first > last:
            raise ConfigError(f"{text!r} is an empty range (the smaller number comes first)")
    elif text.isascii() and text.isdigit():
        first = last = int(text)
    else:
        try:
            first = last = pwd.getpwnam(text).pw_uid
        except (KeyError, ValueError) as error:
            raise ConfigError(f"there is no user {text!r} (write a name, 1000, or 1000-1999)") from error
    if last > MAX_UID:
        raise ConfigError(f"{text!r} is not a user: numbers are 0 to {MAX_UID}")
    return first, last


def network_of(text: str) -> Network:
    """Return the network that text writes in CIDR notation. Raises ConfigError."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigError(f"cannot use {text!r}: {why_no_network(text)}") from error


def why_no_network(text: str) -> str:
    """Return why text writes no network in CIDR notation, and what would."""
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        return "not a network (such as 10.0.0.0/8)"
    return f"the address has bits behind its prefix (write {meant})"


def mark_of(said: str | int) -> tuple[int, int]:
    """Return mark and mask of "0xca6c" or "0x80000/0xff0000". Raises ConfigError."""
    text = str(said)
    mark, slash, mask = text.partition("/")
    try:
        found = int(mark, 0), int(mask, 0) if slash else _ALL_BITS
    except ValueError:
        found = 0, 0
    if not (0 < found[0] <= _ALL_BITS and 0 < found[1] <= _ALL_BITS and found[0] & found[1] == found[0]):
        raise ConfigError(f"{text!r} is not a mark (write 0xca6c, or 0x80000/0xff0000 with a mask)")
    return found


def _interface(name: str) -> None:
    check_name(name)
    if name == LOOPBACK:
        raise ConfigError("nothing is forwarded that comes in by 'lo': it is this host itself")


def _only_forwarded() -> None:
    raise ConfigError("is about what this host forwards (it needs forwarded = true)")


def _cgroup(path: str) -> None:
    parts = path.strip("/").split("/")
    if not parts[0] or ".." in parts or "\0" in path:
        raise ConfigError(
            f"{path!r} is not the path of a control group (such as user.slice or system.slice/x.service)"
        )


def _lane_goes_past() -> None:
    raise ConfigError("what direct-lane is for does not go through tunproxy (leave one of them out)")


def _groups_end_with_us() -> None:
    why = "who is in a control group is known only while tunproxy runs"
    raise ConfigError(f"{why} (leave include-cgroups out, or exclude other users)")


def _both(path: str) -> None:
    raise ConfigError(f"{path!r} is included and excluded")
