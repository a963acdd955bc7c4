"""What a user may ask for, and whether it makes sense; every error is a ConfigError."""

import dataclasses
import math
import os
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, TypeVar  # Any: fields of a dataclass, by name

from tunproxy.control.capture import CaptureOptions, why_no_network
from tunproxy.control.log_options import LogOptions
from tunproxy.device.tun import check_name
from tunproxy.errors import ConfigError
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6, Network
from tunproxy.secret import Secret

if TYPE_CHECKING:
    from tunproxy.control.config.schema import CaptureConfig, DeviceConfig

MTU_MIN: Final = 1280  # RFC 8200 §5: IPv6 needs it, and our devices always carry both families
MTU_MAX: Final = 65_535
MTU_DEFAULT: Final = 1500  # our choice: super-packets make a larger one no faster
MOST_BY_THEMSELVES: Final = 4  # our choice: workers, unless more are asked for
WORKERS_MAX: Final = 64  # our choice; the kernel has 256 queues
UDP_TIMEOUT_DEFAULT: Final = 300.0  # seconds; RFC 4787 REQ-5 recommends five minutes
MEMORY_MIN: Final = 16 << 20  # our choice: with less, a few flows would slow each other down
MEMORY_MAX: Final = 1 << 40
MEMORY_DEFAULT: Final = 256 << 20  # our choice: 1000 stalled flows with the window they begin with
TUN_DEFAULT: Final = "tunproxy0"
EVERYTHING: Final = ("0.0.0.0/0", "::/0")
_UNITS: Final = {"": 0, "K": 10, "M": 20, "G": 30}


@dataclass(frozen=True)
class PolicyOptions:
    """What the command line says about policy; "" for what it leaves open.

    config, rules and plugins are paths. With upstream, a URL, no configuration is looked for: it is where
    everything goes that rules do not decide.
    """

    config: str = ""
    rules: str = ""
    upstream: Secret = Secret("")  # noqa: RUF009  # a Secret never changes
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PathSettings:
    """Settings of the packet path, which exec and up share."""

    tun: str = TUN_DEFAULT
    mtu: int = MTU_DEFAULT
    mark: int = 0
    bind_interface: str = ""
    udp_timeout: float = UDP_TIMEOUT_DEFAULT
    memory: int = MEMORY_DEFAULT  # octets that flows and fragments may hold together
    policy: PolicyOptions = field(default_factory=PolicyOptions)
    logs: LogOptions = LogOptions()  # noqa: RUF009  # which never changes
    said: frozenset[str] = field(default=frozenset(), compare=False)  # fields that the command line names

    def check(self) -> None:
        """Raise ConfigError for the first thing that cannot be."""
        check_name(self.tun)
        if not MTU_MIN <= self.mtu <= MTU_MAX:
            raise ConfigError(f"cannot use mtu {self.mtu}: must be {MTU_MIN} to {MTU_MAX}")
        if not 0 <= self.mark < 1 << 32:
            raise ConfigError(f"cannot use mark {self.mark}: must be 0 to {(1 << 32) - 1}")
        if not (math.isfinite(self.udp_timeout) and self.udp_timeout > 0):
            why = "must be a number of seconds above 0"
            raise ConfigError(f"cannot use udp timeout {self.udp_timeout:g}: {why}")
        if not MEMORY_MIN <= self.memory <= MEMORY_MAX:
            raise ConfigError(f"cannot use memory {self.memory}: must be 16M to 1024G")
        if self.bind_interface:
            check_interface(self.bind_interface)


@dataclass(frozen=True, kw_only=True)
class ExecSettings(PathSettings):
    """A command in a network of its own. host_addresses stand for this host's loopback inside."""

    command: tuple[str, ...]
    host_addresses: tuple[str, ...] = ()

    def check(self) -> None:
        super().check()
        for address in self.host_addresses:
            parse_host_address(address)


@dataclass(frozen=True, kw_only=True)
class UpSettings(PathSettings):
    """A whole network namespace. With routes empty, somebody else routes; worker_uid None: ours to choose.

    workers 0 is as many as make sense (``worker_count``).
    """

    routes: tuple[str, ...] = EVERYTHING
    worker_uid: int | None = None
    workers: int = 0
    capture: CaptureOptions = CaptureOptions()  # noqa: RUF009  # which never changes

    def check(self) -> None:
        super().check()
        for route in self.routes:
            parse_network(route)
        self.capture.check()
        if self.worker_uid is not None and not 0 <= self.worker_uid < (1 << 32) - 1:
            raise ConfigError(f"cannot use worker uid {self.worker_uid}: must be 0 to {(1 << 32) - 2}")
        if not 0 <= self.workers <= WORKERS_MAX:
            raise ConfigError(f"cannot use {self.workers} workers: must be 1 to {WORKERS_MAX}, or auto")
        if self.worker_uid == 0 and self.routes and not self.mark:
            why = "all of root's traffic would bypass us (choose another, or give --mark)"
            raise ConfigError(f"cannot use worker uid 0: {why}")


def worker_count(wanted: int) -> int:
    """Return how many workers there are to be; 0 wanted is as many as make sense on these processors.

    A worker uses one processor up; the programs whose packets it carries, and the kernel between them, need
    as much again. So there is one for two processors, and beyond four they rarely have anything to do.
    """
    return wanted or max(1, min(len(os.sched_getaffinity(0)) // 2, MOST_BY_THEMSELVES))


PathKind = TypeVar("PathKind", bound=PathSettings)


def with_device(settings: PathKind, device: "DeviceConfig") -> PathKind:
    """Return settings with what the configuration says of the device, where the command line says nothing.

    Raises ConfigError for what cannot be.
    """
    found: dict[str, Any] = {}
    if device.name and "tun" not in settings.said:
        found["tun"] = device.name
    if device.mtu is not None and "mtu" not in settings.said:
        found["mtu"] = device.mtu
    if device.memory is not None and "memory" not in settings.said:
        found["memory"] = octets(device.memory)
    if device.workers is not None and "workers" not in settings.said and isinstance(settings, UpSettings):
        found["workers"] = count_of_workers(device.workers)
    result = dataclasses.replace(settings, **found)
    result.check()
    return result


def with_capture(settings: UpSettings, capture: "CaptureConfig") -> UpSettings:
    """Return settings with what the configuration says of capturing, where the command line says nothing.

    Raises ConfigError for what cannot be.
    """
    result = dataclasses.replace(settings, capture=settings.capture.over(capture))
    if result.capture.include_networks and not settings.said & {"route", "no_route"}:
        result = dataclasses.replace(result, routes=result.capture.include_networks)
    result.check()
    return result


def octets(size: str | int) -> int:
    """Return the octets that text writes: a whole number, with K, M or G for powers of 1024.

    Raises ConfigError.
    """
    written = str(size).upper()
    digits = written.rstrip("KMG")
    unit = written[len(digits) :]
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19) or unit not in _UNITS:
        raise ConfigError(f"{size!r} is not a size (such as 256M)")
    return int(digits) << _UNITS[unit]


def count_of_workers(said: str | int) -> int:
    """Return the number of workers that text writes, 0 for auto. Raises ConfigError."""
    text = str(said)
    if text == "auto":
        return 0
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= WORKERS_MAX):
        raise ConfigError(f"cannot use {text!r} workers: must be 1 to {WORKERS_MAX}, or auto")
    return int(text)


def check_interface(name: str) -> None:
    """Raise ConfigError unless this network namespace has an interface called name."""
    try:
        socket.if_nametoindex(name)
    except (OSError, ValueError) as error:
        known = ", ".join(link for _, link in socket.if_nameindex())
        raise ConfigError(f"cannot bind to interface {name!r}: there is none (there are: {known})") from error


def parse_network(text: str) -> Network:
    """Return the network that text names in CIDR notation; a lone address is a network of one."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigError(f"cannot route {text!r}: {why_no_network(text)}") from error


def parse_host_address(text: str) -> IPv4Address | IPv6Address:
    """Return the address that text names, which must be one that packets leave the inside for."""
    try:
        address = ip_address(text)
    except ValueError as error:
        raise ConfigError(
            f"cannot use {text!r} as host address: not an address (such as 10.9.8.7)"
        ) from error
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
        raise ConfigError(f"cannot use {text!r} as host address: must be an ordinary unicast address")
    if address in (TUN_IPV4.ip, TUN_IPV6.ip):
        raise ConfigError(f"cannot use {text!r} as host address: it is the command's own")
    return address
