"""What [dns] asks for, as settings for the resolver; and whom this host asks for names."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tunproxy.control.config.schema import DnsConfig
from tunproxy.control.resolver_search import find_resolvers_now
from tunproxy.dns.fake_store import StoreFiles, open_files
from tunproxy.dns.settings import FAKE_IP, OFF, SYSTEM, DnsSettings
from tunproxy.dns.system import system_resolvers
from tunproxy.errors import ConfigError
from tunproxy.host.resolver import DEFAULT_NAMESERVER

FAKE_FILE: Final = "fake-ip"
SYSTEM_STATE: Final = Path("/var/lib/tunproxy")


def dns_settings(
    config: DnsConfig, system: Sequence[str] = (), environment: Mapping[str, str] = os.environ
) -> DnsSettings:
    """Return the settings that config writes; its paths are absolute. system are the host's resolvers.

    Where no file for fake addresses is named, there is one of ours, and they work without it too.
    """
    named = config.fake_ip_file
    return DnsSettings(
        mode=config.mode,
        servers=config.servers or (SYSTEM,),
        bootstrap=config.bootstrap,
        strategy=config.strategy,
        domains=config.domains,
        hosts=config.hosts,
        hosts_file=config.hosts_file,
        cache_size=config.cache_size,
        serve_stale=config.serve_stale,
        random_capitals=config.random_capitals,
        client_subnet=config.client_subnet,
        ca_file=Path(config.ca_file) if config.ca_file else None,
        fake_ip_range=config.fake_ip_range,
        fake_ip_range6=config.fake_ip_range6,
        fake_ip_filter=config.fake_ip_filter,
        fake_ip_file=fake_file(environment) if named is None else Path(named) if named else None,
        needs_fake_ip_file=named is not None,
        hijack_except=config.hijack_except,
        system=tuple(system),
    )


def host_resolvers(*, is_apart: bool) -> tuple[str, ...]:
    """Return the addresses of the resolvers that this host has, to be asked before anything is changed.

    is_apart says that the host's own queries do not go through us, so that a resolver on the host itself may
    be asked. Else one that passes queries on would ask us; without any other there is none.
    """
    if not is_apart:
        return find_resolvers_now()
    return tuple(system_resolvers(may_use_loopback=True) or [DEFAULT_NAMESERVER])


def asks_system(config: DnsConfig) -> bool:
    """Tell whether the host's own resolvers are among those that config has asked."""
    named = [config.servers or (SYSTEM,), config.bootstrap, *config.domains.values()]
    return config.mode != OFF and any(SYSTEM in each for each in named)


def fake_files(config: DnsConfig, environment: Mapping[str, str] = os.environ) -> StoreFiles | None:
    """Return the file of fake addresses, opened for a worker that may not; None where it needs none.

    None is also where we cannot open it either: the worker, which may have one already, says what is wrong.
    """
    path = dns_settings(config, environment=environment).fake_ip_file
    if config.mode != FAKE_IP or path is None:
        return None
    try:
        return open_files(path)
    except ConfigError:
        return None


def fake_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where fake addresses are kept unless the user names another place."""
    return state_folder(environment) / FAKE_FILE


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of what stays from one run to the next (XDG Base Directory)."""
    given = environment.get("STATE_DIRECTORY", "").partition(":")[0]  # systemd.exec(5)
    if given:
        return Path(given)
    state = environment.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return Path(state) / "tunproxy"
    home = environment.get("HOME", "")
    if home.startswith("/"):
        return Path(home) / ".local" / "state" / "tunproxy"
    return SYSTEM_STATE
