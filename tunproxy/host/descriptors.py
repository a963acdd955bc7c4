"""What one process has opened in its network namespace, handed to another over a Unix socket.

A device and a table of connections go on belonging to the namespace they were opened in, whichever
namespace the process lives in that uses them.
"""

import json
import os
import socket

from tunproxy.device.tun import Offload, TunDevice

MAX_MESSAGE = 256
MAX_DESCRIPTORS = 8


def send_device(channel: socket.socket, device: TunDevice, others: list[int]) -> None:
    """Send device and other descriptors to the other end of channel; our own stay open."""
    message = json.dumps({"name": device.name, "offload": device.offload.flags})
    socket.send_fds(channel, [message.encode()], [device.fd, *others])


def receive_device(channel: socket.socket) -> tuple[TunDevice | None, list[int]]:
    """Return the device and the other descriptors that the other end sends, None when it closes channel."""
    message, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE, MAX_DESCRIPTORS)
    if not descriptors:
        return None, []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    fields = json.loads(message)
    device = TunDevice(descriptors[0], fields["name"], Offload.from_flags(fields["offload"]))
    return device, descriptors[1:]
