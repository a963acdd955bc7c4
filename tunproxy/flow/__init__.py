"""Flows: which flow a packet belongs to, and the relay between the two halves of one.

Promises
    A packet finds its flow with one slice and one look-up. Bytes are handed over, not copied: what a
    client sent goes to the upstream as a view into the packet, what the upstream sent is its own
    retransmission copy. Backpressure is real: what one side does not take closes the window of the other,
    and a flow never holds more than its two buffers. All flows together hold no more than a budget, and the
    windows that they have promised.

Vocabulary
    client      the application behind the device;  target: whom it wants to reach
    upstream    the kernel socket that carries the flow out (or a stream object, where there is no socket)
    inbound     from the device;  outbound: to the device

Theory of operation
    ``ports`` declares what the packet path needs from the levels above it: a sink for frames, a poller for
    descriptors, a maker of sockets, a decider. ``tcp_table`` turns segments into ``tcp_flow`` objects; a
    ``TcpFlow`` owns the TCP engine's connection and the upstream descriptor. ``opening`` brings the two
    together, with ``hearing`` before it where what the client says first decides the way, and ``conversing``
    in between where the way leads through a proxy; ``relay`` moves bytes between them, ``coding`` does where
    a ``codec`` transforms them, and ``ending`` passes on how either ended; ``leaving`` ends those whose way
    out is gone. What all flows share is in ``context``; ``budget`` says how short memory is, ``admission``
    whether a SYN may begin a flow, gets a cookie, or nothing, and ``targets`` where a packed address may be
    dialled.
    A ``FlowWatcher`` gets each flow's ``life``, through ``watching``, and may ``tap`` what passes.
    Everything runs on one thread, inside one ``select()``; nothing here waits.

Reading order
    ``ports``, ``targets``, ``counters``, ``tcp_table``, ``tcp_flow``, ``opening``, ``hearing``,
    ``conversation``, ``conversing``, ``relay``, ``codec``, ``coding``, ``ending``, ``leaving``, ``context``,
    ``budget``, ``admission``, ``life``, ``tap``, ``watching``
"""
