"""Names: what programs ask about them, and what they mean by addresses.

Promises
    Every query gets a reply or silence, whatever its octets are, and nobody an exception. Nobody is asked but
    the resolvers that the user named, over sockets that never come back into the device. An answer is
    believed about its question only. What a client was told about an address is known by its name.

Vocabulary
    question    what a query asks; two with the same ``key`` have the same answer
    answer      packed records, ready for whoever asks
    resolver    a server that is asked;  group: some of which any may answer;  router: which group is asked
    fake        an address that stands for a name, and belongs to nobody
    bootstrap   finding the address of a resolver that was named by its own name

Theory of operation
    ``server.DnsServer`` answers from ``local`` (``hosts``, ``fakeip``) and ``cache`` at once, without a task
    and without a parser: ``message`` reads the question, and ``packing`` puts the reply together from packed
    records. The rest waits for ``lookups``, which have ``resolvers`` asked over a ``transport``; ``answers``
    reads with dnspython what comes back, and keeps what was asked for. ``names`` remembers it per client, for
    rules. ``datagrams`` and ``streams`` bring queries from the packet path. ``checks`` finds what is wrong
    with ``settings``, ``makers`` makes resolvers of them, and ``build`` puts it all together.

Reading order
    ``settings``, ``labels``, ``message``, ``packing``, ``server``, ``local``, ``lookups``, ``cache``,
    ``names``, ``hosts``, ``fakeip``, ``fake_store``, ``answers``, ``resolvers``, ``transport``,
    ``own``, ``over_udp``, ``over_tcp``, ``over_https``, ``contributed``, ``locations``, ``makers``,
    ``checks``, ``system``, ``datagrams``, ``streams``, ``build``
"""
