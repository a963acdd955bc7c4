"""Packet formats: bytes to fields and back, for untrusted input and for what we send.

Promises
    ``parse_*`` takes any bytes and returns a drop reason (``reasons.OK`` when there is none); it never
    raises and never reads outside the packet. ``emit_*`` trusts its caller and returns bytes.
    Nothing here keeps state, does I/O, or knows what a flow is.

Vocabulary
    frame       virtio_net_hdr (10 octets) followed by an IP packet: what every device reads and writes
    packet      the IP unit;  segment: TCP;  datagram: UDP
    ``*_off``   offset into the frame, so that nothing is sliced before delivery

Theory of operation
    A frame is one ``bytes`` object. ``ip.parse_ip`` fills an ``IpView`` with offsets, for both families;
    from there on the code is the same for IPv4 and IPv6. ``tcp.parse_tcp`` fills a ``Segment``. Views are
    allocated once by their owner and filled again for each packet. Headers we send are built by one
    ``BytesWriter``; checksums leave partial where the device completes them (``vnet``).

Reading order
    ``bits`` and ``checksum``, then ``vnet``, ``ip``, ``tcp``, ``tcp_options``, ``udp``, ``icmp``, ``sink``
"""
