"""The queues of a device, one for each worker, and who gives packets to them."""

from typing import Final

from tunproxy.control.settings import worker_count
from tunproxy.device.tun import TunDevice, open_queues
from tunproxy.host.queue_choice import steer

BY_PORT: Final = "by client's port (eBPF)"


def open_for_workers(name: str, wanted: int) -> tuple[list[TunDevice], str]:
    """Make the TUN device name, with a queue for each of so many workers; return who chooses among them, too.

    0 wanted is as many as make sense: one where the kernel does not do the choosing as we want it, because
    then workers have to hand each other datagrams. Raises as open_tun does.
    """
    count = worker_count(wanted)
    devices = open_queues(name, count)
    if count == 1:
        return devices, ""
    why = steer(devices[0].fd, count)
    if not why:
        return devices, BY_PORT
    if wanted:
        return devices, f"by the kernel's own hash ({why})"
    for device in devices:
        device.close()
    return open_queues(name, 1), ""
