"""Captures: copies of the packets of chosen flows, on their way into a file for Wireshark.

Promises
    While nobody captures, the packet path pays nothing for it. A reader who is too slow loses packets and
    is told how many; nothing waits for him, and nothing grows without bound. A capture ends with whoever
    asked for it.

Vocabulary
    capture     packets as they pass the TUN device; ``control.capture`` means who goes into it
    mark        what a capture knows of a flow (``loop.copying``)
    record      what a worker ships: a packet, a name, or how many there were

Theory of operation
    A worker may open no file. So ``service``, in the supervisor, makes a socket pair for each worker, asks
    with one end for a capture, and writes what comes over the other into the answer of an HTTP request on
    the control socket: ``arrivals`` takes what the workers ship, ``merging`` puts it in order, and
    ``blocks`` makes the file of it.
    ``receiving`` is who has asked, and ``pcapng`` the format.

    In the worker ``captures`` answers. A ``Copier`` sits between packet path and device; ``marking`` tells it
    which flows are wanted, by ``control.flow_filter``, with ``keys`` for packets that are not plain. ``rows``
    has what is known of a flow by now, and ``words`` says of it what stands beside its first packet. In
    ``capturing`` packets wait in their order until that is known, for a moment, and go out as ``shipping``
    writes them.
"""
