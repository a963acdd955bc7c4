"""Descriptors that processes have from each other.

What one has opened in its network namespace, handed to another over a Unix socket: a device and a table of
connections go on belonging to the namespace they were opened in, whichever namespace the process lives in
that uses them. And what a forked process has of its parent's, which it does not want.
"""

import json
import os
import socket
from collections.abc import Collection

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


def let_go(keep: Collection[int]) -> None:
    """Let go of everything that our parent had open, but for keep and the standard streams.

    The numbers stay taken, by /dev/null: objects that we have from our parent may yet close theirs, and must
    not close what is ours.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in [int(name) for name in os.listdir("/proc/self/fd")]:
        if number > 2 and number != nothing and number not in keep:
            try:
                os.fstat(number)  # the list itself was read through one that is closed by now
                os.dup2(nothing, number, inheritable=False)
            except OSError:
                continue
    os.close(nothing)
