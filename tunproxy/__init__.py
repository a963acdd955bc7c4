"""Put a transparent, system-wide proxy between Linux programs and the network.

Packets that programs send are routed into a TUN device. A TCP/IP stack in user space turns them into
flows, rules and plugins decide what happens to each flow, and ordinary kernel sockets carry it out.

Vocabulary: a *packet* is an IP unit, a *frame* is what one read of a device returns, a *segment* is a
TCP unit and a *datagram* a UDP unit. A *flow* is one conversation: the *client* is the program behind
the device, the *target* is whom it wants to reach, and the *upstream* is whom we dial for it.
*Inbound* is from the device, *outbound* is to the device.

A byte passes the packages in this order: ``device`` reads a frame, ``wire`` finds the fields in it,
``flow`` finds the conversation, ``tcp`` or ``datagram`` turns packets into a stream and back,
``upstream`` names the socket that goes on with it, and ``loop`` runs all of this in one thread.
``host`` changes links, routes and namespaces, ``control`` puts the parts together, ``cli`` holds the
commands and ``plugin`` is what plugins import. ``errors``, ``clock`` and ``version`` are used by all.

Imports point down only: a package knows the ones before it on the way of a byte, never the ones after it.
"""
