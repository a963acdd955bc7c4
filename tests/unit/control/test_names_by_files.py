"""Names by a configuration alone."""

import asyncio
from collections.abc import Callable, Sequence

from tunproxy.control.config.schema import DnsConfig
from tunproxy.control.names_by_files import NamesByFiles
from tunproxy.dns.settings import FAKE_IP, OFF

HOSTS = {"nas.lan": ("192.0.2.9", "2001:db8::9"), "files.lan": "a.example"}


async def host(name: str) -> Sequence[str]:
    return [f"host was asked for {name}"]


def names(
    mode: str = "real-ip", wants_fake: Callable[[str], bool] | None = None, filtered: tuple[str, ...] = ()
) -> NamesByFiles:
    config = DnsConfig(mode=mode, hosts=HOSTS, hosts_file=False, fake_ip_filter=filtered)  # type: ignore[arg-type]
    return NamesByFiles(config, wants_fake, host)


def resolved(found: NamesByFiles, name: str) -> Sequence[str]:
    return asyncio.run(found.resolve(name))


def test_names_of_the_configuration_have_its_addresses() -> None:
    for mode in ("real-ip", FAKE_IP):
        assert resolved(names(mode), "nas.lan") == ["192.0.2.9", "2001:db8::9"]
        assert resolved(names(mode), "files.lan") == ["host was asked for a.example"]
        assert resolved(names(mode), "b.example") == ["host was asked for b.example"]
    assert resolved(names(OFF), "nas.lan") == ["host was asked for nas.lan"]


def test_fake_are_names_that_nothing_else_is_said_of() -> None:
    found = names(FAKE_IP, lambda name: name != "direct.example", ("+.time.example",))
    fake = [
        name
        for name in ("a.example", "direct.example", "x.time.example", "nas.lan", "files.lan")
        if found.is_fake(name)
    ]
    assert fake == ["a.example"]
    assert names(FAKE_IP).is_fake("direct.example")
    assert not names().is_fake("a.example")
