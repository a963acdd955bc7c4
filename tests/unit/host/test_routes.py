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


def test_route_undone_by_somebody_is_mended_and_one_of_another_link_is_none_of_ours() -> None:
    def check() -> None:
        device, other = open_tun("tun0"), open_tun("tun1")
        route = Route(ip_network("0.0.0.0/0"), "tun0", TABLE)
        with Netlink() as net:
            for name in ("tun0", "tun1"):
                LinkUp(name, 1500).apply(net)
            route.apply(net)
            assert not route.mend(net)
            net.delete_route(route.prefix, "tun0", TABLE)
            assert route.mend(net)
            assert not route.mend(net)
            net.add_route(route.prefix, "tun1", TABLE)  # in its place
            assert route.mend(net)
            assert net.has_route(route.prefix, "tun0", TABLE)
        for each in (device, other):
            each.close()

    isolated(check)
