"""Whether settings make sense, each on its own: before anything is made, and with the key that is wrong."""

import ipaddress
from collections.abc import Callable, Iterator
from functools import partial

from tunproxy.dns.fakeip import parse_range
from tunproxy.dns.hosts import Hosts
from tunproxy.dns.labels import name_of
from tunproxy.dns.locations import parse_location
from tunproxy.dns.settings import MODES, STRATEGIES, SYSTEM, DnsSettings
from tunproxy.errors import ConfigError

Path = tuple[str | int, ...]


def check_settings(settings: DnsSettings) -> None:
    """Raise ConfigError for the first thing that makes no sense."""
    for path, why in problems_of(settings):
        raise ConfigError(f"[dns] {path[0]}: {why}")


def problems_of(settings: DnsSettings) -> list[tuple[Path, str]]:
    """Return what makes no sense, each with the path of its key below [dns]."""
    found: list[tuple[Path, str]] = []
    for path, check in _checks(settings):
        try:
            check()
        except ConfigError as error:
            found.append((path, str(error)))
    return found


def domain_of(text: str) -> str:
    """Return the domain that a key of per-domain resolvers means; raises ConfigError."""
    found = text.lower().removeprefix("+").strip(".")
    try:
        name_of(found)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not found or "*" in found:
        raise ConfigError(f"{text!r} is not a domain (write example.com, for all names in it)")
    return found


def packed_of(address: str) -> bytes:
    """Return the octets of an address; raises ConfigError."""
    try:
        return ipaddress.ip_address(address).packed
    except ValueError as error:
        raise ConfigError(f"{address!r} is not an IP address") from error


def _checks(settings: DnsSettings) -> Iterator[tuple[Path, Callable[[], object]]]:
    """Yield the path of each value with what raises ConfigError for a wrong one."""
    yield ("mode",), partial(_one_of, settings.mode, MODES)
    yield ("strategy",), partial(_one_of, settings.strategy, STRATEGIES)
    for key, texts in (("servers", settings.servers), ("bootstrap", settings.bootstrap)):
        for number, text in enumerate(texts):
            yield (key, number), partial(_location, text)
    for name, texts in settings.domains.items():
        yield ("domains", name), partial(domain_of, name)
        for number, text in enumerate(texts):
            yield ("domains", name, number), partial(_location, text)
    for name, value in settings.hosts.items():
        yield ("hosts", name), partial(Hosts, {name: value})
    yield ("client-subnet",), partial(_subnet, settings.client_subnet)
    yield ("fake-ip-range",), partial(parse_range, settings.fake_ip_range, 4)
    if settings.fake_ip_range6:
        yield ("fake-ip-range6",), partial(parse_range, settings.fake_ip_range6, 6)
    for number, pattern in enumerate(settings.fake_ip_filter):
        yield ("fake-ip-filter", number), partial(_pattern, pattern)
    for number, address in enumerate(settings.hijack_except):
        yield ("hijack-except", number), partial(packed_of, address)


def _one_of(value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{value!r} is not one of {', '.join(known)}")


def _location(text: str) -> None:
    if text != SYSTEM:
        parse_location(text)


def _subnet(text: str) -> None:
    try:
        ipaddress.ip_network(text or "0.0.0.0/0")
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _pattern(text: str) -> None:
    try:
        name_of(text.removeprefix("+").removeprefix("."))
    except ValueError as error:
        raise ConfigError(str(error)) from error
