"""What the user may say about names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

REAL_IP: Final = "real-ip"
FAKE_IP: Final = "fake-ip"
OFF: Final = "off"
MODES: Final = (REAL_IP, FAKE_IP, OFF)
FAILOVER: Final = "failover"
RACE: Final = "race"
STRATEGIES: Final = (FAILOVER, RACE)
SYSTEM: Final = "system"  # the resolvers that the host had before us

# our choices
MAX_ENTRIES: Final = 10_000  # answers that are kept
IPV4_RANGE: Final = "198.18.0.0/15"  # for benchmarks of networks (RFC 2544), so that nobody lives there
IPV6_RANGE: Final = "fc00::/18"  # of the unique local half that is not assigned (RFC 4193 §3.1)
DEFAULT_FILTER: Final = (
    "+.local", "+.lan", "+.localdomain", "+.home.arpa", "+.internal", "+.arpa",  # of the network here
    "+.ntp.org", "time.*.com", "ntp.*.com", "+.stun.*.*", "+.stun.*.*.*",  # who is told addresses in payload
)  # fmt: skip


@dataclass(frozen=True)
class DnsSettings:
    """The fields are those of [dns], with "_" for "-".

    system are the host's resolvers as they were before us, addresses or locations (``system_resolvers``).
    domains are resolvers by the domain whose names they answer for. Without needs_fake_ip_file fake addresses
    are handed out even where the file cannot be used.
    """

    mode: str = REAL_IP
    servers: tuple[str, ...] = (SYSTEM,)
    bootstrap: tuple[str, ...] = ()
    strategy: str = FAILOVER
    domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hosts: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    hosts_file: bool = True
    cache_size: int = MAX_ENTRIES
    serve_stale: int = 0
    random_capitals: bool = True
    client_subnet: str = ""
    ca_file: Path | None = None
    fake_ip_range: str = IPV4_RANGE
    fake_ip_range6: str = IPV6_RANGE
    fake_ip_filter: tuple[str, ...] = DEFAULT_FILTER
    fake_ip_file: Path | None = None
    needs_fake_ip_file: bool = True
    hijack_except: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
