"""Upstreams: how a flow gets out, and the sockets it gets out through.

Promises
    Every socket of the packet path comes from ``sockets``, which marks it or binds it, so that it never
    comes back into the device. An upstream either names an address, which the packet path dials by
    itself without a coroutine, or is a coroutine that ends in a connected, non-blocking socket. What is
    known of an upstream is forgotten after a while; what is not known is tried.

Vocabulary
    dial        connect in the packet path;  open: hold a conversation first, on asyncio
    group       an upstream that sends each flow through a member;  chain: the groups on the way to it
    well, suspect, dead
                a flow could not reach it; a test failed
    way         an open path for datagrams;  framing: what stands in front of each of them
    test        a request through an upstream;  explore: find out what it can carry

Theory of operation
    A ``ProxyUpstream`` is a server and a conversation about each flow, ``Relayed`` several in a row.
    ``Knowledge`` says which flows an upstream carries, so that the decider passes it over for others;
    ``failures`` reads it out of what went wrong, and ``complaints`` tells people once, however many
    flows it meets. ``Health`` tests the members that groups ask for, now and then, and at once where a flow
    failed; a ``Group`` asks it who is well, and never waits.

Reading order
    ``base``, ``sockets``, ``dialer``, ``opening``, ``answers``; ``knowledge``, ``failures``,
    ``complaints``, ``tls``, ``tls_client``, ``tls_faults``, ``proxy``, ``coded``, ``coded_proxy``;
    ``option_file``, ``certificates``, ``tls_options``, ``types``; ``datagrams``, ``datagram_opening``;
    ``probe``, ``history``, ``watch``, ``health``, ``group``, ``relayed``
"""
