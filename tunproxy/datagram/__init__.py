"""UDP and ICMP echo: datagrams of clients through sockets of the host, and back.

Promises
    A client's UDP port is one port of the host for as long as it is used, whatever targets it writes to, and
    everybody may answer there (RFC 4787: endpoint-independent mapping and filtering). Datagrams of one path
    stay in order, whole, and are never held back: what is gathered in a batch of frames leaves at its end.
    What the network reports (refused, unreachable, too big, expired) reaches the client as the ICMP error
    it would have got itself. Replies are never invented.

Vocabulary
    carrier     what a path's datagrams go through: an association, a way through a proxy, or a place to wait
    link        what is behind an open way: a socket with headers, or with a seal, or a stream for one target
    association one UDP port of a client, and the socket that stands for it
    path        one target of a carrier, as the client and as the host know it
    unit        the size of each datagram in a super-packet
    name        an address as the kernel writes it
    traits      what of the client's IP header goes out again
    guest       a carrier or a ping, as the ``room`` sees it: one more that holds descriptors
    desk        where datagrams are handed to somebody here who answers them

Theory of operation
    ``table.DatagramTable`` finds the ``Path`` of a datagram with one slice and one look-up, and gathers
    datagrams of equal size there; at the end of the batch the ``Association`` sends them as one, which the
    kernel cuts again. A socket that is readable is read with one call for many datagrams (``receiver``),
    and those of one sender go to the client as one super-packet (``outlet``). ``error_queue`` and
    ``icmp_sender`` turn errors around. ``reassembly`` makes whole packets before any of this, ``fragments``
    cuts those that the device cannot take. ``echo`` is the same for ping. ``room`` bounds both: nobody has so
    many sockets that others get none, and who is idle for too long has to go. Where rules look at flows,
    ``decisions`` asks about each pair of a client's port and a target before there is a path, and
    ``dispatch`` makes the path that the answer asks for: by a socket of ours, ``proxied`` by way of a
    ``link``, or ``undecided`` for now, with what comes meanwhile ``kept``. A ``socket_link`` puts a header in
    front, and ``sources`` knows that of an answer again; a ``sealed_link`` has both encrypted, and an ``ear``
    for servers that say nothing; a ``stream_link`` writes them one after the other. What a ``service``
    answers, such as DNS, never has a path. ``watching`` tells who wants to know of each flow.

Reading order
    ``table``, ``decisions``, ``dispatch``, ``path``, ``carrier``, ``association``, ``proxied``, ``link``,
    ``undecided``, ``receiver``, ``outlet``, ``icmp_sender``, ``echo``, ``room``, ``reassembly``, ``service``
"""
