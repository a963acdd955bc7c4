"""What a configuration alone says of names: where no worker is asked, an explanation goes by this."""

import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tunproxy import clock
from tunproxy.control.config.schema import DnsConfig
from tunproxy.dns.fakeip import FakePool
from tunproxy.dns.hosts import HOSTS_FILE, Hosts
from tunproxy.dns.local import LocalAnswers
from tunproxy.dns.message import AAAA, A
from tunproxy.dns.settings import FAKE_IP, OFF

Resolve = Callable[[str], Awaitable[Sequence[str]]]


class NamesByFiles:
    """Names by [dns]: fixed ones, those with fake addresses, and others, which ask_host is asked for.

    wants_fake tells which names get fake addresses, as far as the filter lets them; None: all. Nothing is
    opened, and no fake address handed out.
    """

    def __init__(
        self, config: DnsConfig, wants_fake: Callable[[str], bool] | None, ask_host: Resolve
    ) -> None:
        self._ask_host: Final = ask_host
        self._wants_fake: Final = wants_fake
        is_ours = config.mode != OFF
        hosts = Hosts(config.hosts if is_ours else {}, HOSTS_FILE if is_ours and config.hosts_file else None)
        self._pool: Final = (
            FakePool(clock.now, filtered=config.fake_ip_filter) if config.mode == FAKE_IP else None
        )
        self._local: Final = LocalAnswers(hosts, self._pool, self._is_wanted, Counter())

    def is_fake(self, host: str) -> bool:
        """Tell whether clients get a fake address for host."""
        return self._local.gives_fake(host, clock.now())

    async def resolve(self, host: str) -> Sequence[str]:
        """Return the addresses of host; raises OSError."""
        now = clock.now()
        name = self._local.alias(host, now) or host
        answers = [self._local.real(name, kind, now) for kind in (A, AAAA)]
        if answers != [None, None]:
            packed = [each for answer in answers if answer is not None for each in answer.addresses]
            return [str(ipaddress.ip_address(each)) for each in packed]
        return await self._ask_host(name)

    def _is_wanted(self, host: str) -> bool:
        if self._pool is None or not self._pool.wants(host):
            return False
        return self._wants_fake is None or self._wants_fake(host)
