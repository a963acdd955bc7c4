"""``tunproxy relay``: the other end, which takes what our upstreams compress and encrypt, and dials targets.

Promises
    Any client is told the truth about its target, or why it is not served; who is refused, and who says
    something that is none of the protocols, costs a coroutine for a limited time. No address that is private,
    local or ours is dialled unless the user allows it, whatever name leads there. What goes through is not
    changed; an end is passed on as an end, a reset as a reset, and who is slow slows down the other.

Theory of operation
    ``workers`` is the first process: it binds the places to listen at and forks. A ``worker`` is an asyncio
    loop; the kernel divides the clients between the workers (``listening``, SO_REUSEPORT). They share the
    counts of ``metrics``, in memory, each with a part of its own, and what was said to Shadowsocks before
    (``shared_salts``, ``shared_sessions``, each in a ``shared_memory``), and nothing else; ``scrape`` sums
    the counts up for Prometheus, ``limits`` looks at those of a user.

    A ``connection`` begins as a coroutine that reads a ``stream``: inside TLS or not (``tls_server``), HTTP
    (``http_connect``) or SOCKS (``socks``), which end in a Request (``requests``) or a RequestFailed
    (``failures``). ``users`` says who it is, ``targets`` what may be reached, ``dialing`` reaches it. From
    then on there is no coroutine: ``pump`` moves octets from descriptor to descriptor, through a codec where
    one was agreed on.

    Datagrams: ``connect_udp`` inside a stream, ``socks_udp`` beside one, ``outlet`` to their targets.
    ``shadowsocks_server`` is a listener of its own. ``shadowsocks_udp`` is in every worker: a session
    stays in the one that heard it first, and what others hear of it is handed over (``desks``).

    ``settings`` are the keys of relay.toml, ``reading`` reads it; ``service`` is what connections share.
"""
