"""Devices as they may look, for tests of what is said about them."""

from dataclasses import replace

from tunproxy.doctor.devices import Device, Holder
from tunproxy.host.netlink import Way
from tunproxy.host.tun_links import TunLink

LINK = TunLink(
    "tun0", is_tap=False, has_vnet_header=True, stays=False, is_up=True, mtu=1500, read=7, written=5, lost=0
)
DEVICE = Device(LINK, (Holder(12, "proxy"),))


def device(
    holders: tuple[Holder, ...] = DEVICE.holders, *, sees_all: bool = True, **fields: object
) -> Device:
    """Return a device that is fine but for these fields of its link."""
    return Device(replace(LINK, **fields), holders, sees_all)  # type: ignore[arg-type]


class Ways:
    """Stands for the kernel: every packet takes one way, but those whose protocol and port are named."""

    def __init__(self, usual: Way | None, **others: Way | None) -> None:
        self.usual = usual
        self.others = others

    def way_to(self, target: str, *, uid: int, protocol: int = 0, port: int = 0) -> Way | None:
        return self.others.get(f"p{protocol}_{port}", self.usual)
