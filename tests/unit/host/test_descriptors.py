"""A device and more handed over a socket; pipes stand for them."""

import os
import socket

from tunproxy.device.tun import Offload, TunDevice
from tunproxy.host.descriptors import let_go, receive_device, send_device


def test_device_arrives_with_name_offloads_and_open_descriptors() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    (device_end, device), (other_end, other) = os.pipe(), os.pipe()
    offload = Offload(csum=True, tso6=True)
    with ours, theirs:
        send_device(ours, TunDevice(device, "tun7", offload), [other])
        received, others = receive_device(theirs)
    assert received is not None
    assert (received.name, received.offload) == ("tun7", offload)
    assert not any(os.get_inheritable(descriptor) for descriptor in [received.fd, *others])
    os.write(received.fd, b"frame")
    os.write(others[0], b"more")
    assert (os.read(device_end, 10), os.read(other_end, 10)) == (b"frame", b"more")
    for descriptor in (device, device_end, other, other_end, received.fd, *others):
        os.close(descriptor)


def test_channel_closed_without_device_is_none() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs:
        assert receive_device(theirs) == (None, [])


def test_forked_process_lets_go_of_what_it_does_not_want_and_keeps_the_numbers() -> None:
    reading, writing = os.pipe()
    kept, answer = os.pipe()
    listener = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        let_go({answer})
        links = [os.readlink(f"/proc/self/fd/{fd}") for fd in (reading, writing, listener.fileno(), kept)]
        listener.close()  # an object of our parent's: it must not close what has its number meanwhile
        os.write(answer, " ".join(sorted(set(links))).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(kept, 100) == b"/dev/null"
    listener.close()
    for fd in (reading, writing, kept, answer):
        os.close(fd)
