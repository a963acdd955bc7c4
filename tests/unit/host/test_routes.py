"""Routes as changes, with the real kernel."""

from ipaddress import ip_network

from tests.isolation import isolated, needs_namespaces
from tunproxy.device.tun import open_tun
from tunproxy.host.links import LinkUp
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import TABLE, Route

pytestmark = needs_namespaces


def test_route_vanishes_with_the_device_and_revert_does_not_mind() -> None:
    def check() -> None:
        device = open_tun("tun0")
        route = Route(ip_network("0.0.0.0/0"), "tun0", TABLE)
        with Netlink() as net:
            LinkUp("tun0", 1500).apply(net)
            route.apply(net)
            route.apply(net)
            assert net.count_routes(TABLE) == 1
            route.revert(net)
            assert net.count_routes(TABLE) == 0
            route.apply(net)
            device.close()
            assert net.count_routes(TABLE) == 0
            route.revert(net)

    isolated(check)
