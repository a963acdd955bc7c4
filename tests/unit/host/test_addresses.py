"""The addresses of our links."""

from ipaddress import ip_address

from tunproxy.host.addresses import RESOLVER_IPV4, RESOLVER_IPV6, TUN_IPV4, TUN_IPV6


def test_resolver_is_another_usable_address_of_the_same_network() -> None:
    for resolver, tun in ((RESOLVER_IPV4, TUN_IPV4), (RESOLVER_IPV6, TUN_IPV6)):
        address = ip_address(resolver)
        assert address in tun.network
        assert address not in (tun.ip, tun.network.network_address, tun.network.broadcast_address)


def test_addresses_are_private() -> None:
    assert TUN_IPV4.is_private
    assert TUN_IPV6.is_private
