"""``tunproxy doctor`` and ``tunproxy audit``: what is wrong with a TUN device, and what goes round it.

Promises
    Nothing is changed, and nothing sent, but for what ``--probe`` names. Each finding tells what it was
    concluded from, and the command that mends it. Any program's device can be looked at, not only ours:
    what the kernel tells is the same. What may not be seen is said to be unknown, not fine.

Vocabulary
    finding     one thing that was looked at, how it is, and why we think so
    holder      a process that has the device open: whoever is to read it, and to answer
    way         the link by which the kernel would send a packet, and the router behind it

Theory of operation
    ``devices`` reads what there is to know of TUN devices, and judges it; ``offloads`` reads who completes
    checksums, and how many were wrong; ``ways`` asks the kernel where packets would go, and who stands in
    front; ``loops`` asks that for the packets of the programs behind devices; ``answers`` makes a connection
    and watches the device's counters meanwhile, ``firewall`` what of it gets past the host's own; ``limits``
    is about the host; ``running`` about a tunproxy that runs. ``examine`` puts these together. ``audit``
    asks for each kind of packet whether it would be captured.
"""
