"""Where frames come from and go to: TUN devices, memory, and wrappers around any device.

Promises
    ``read`` returns one whole frame, or None when there is none right now; ``write`` takes one whole
    frame. Neither blocks, and order is kept (``faults`` breaks that on purpose). A frame that the device
    refuses is lost, as a packet on a wire is: losing frames is what the layers above can live with.

Vocabulary
    frame       virtio_net_hdr (10 octets) followed by an IPv4 or IPv6 packet, on every device
    inbound     read from the device;  outbound: written to it
    offload     work left to the kernel: checksums completed, super-packets cut and put together

Theory of operation
    ``base.Device`` is the whole contract. ``tun`` opens /dev/net/tun by itself, because the device must
    vanish with the process that holds it: nothing then has to be cleaned up after a crash.
    ``memory`` is two queues for tests. ``pcap`` (trace it) and ``faults`` (break it) wrap any device and
    are devices themselves, so they stack. A TUN's frames are read and written by the packet path itself,
    which has a faster way (``loop.device_reader``, ``loop.dataplane``).
"""
