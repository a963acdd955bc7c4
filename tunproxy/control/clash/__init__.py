"""The API that dashboards speak, Clash's as mihomo has it, beside our own (``control.api``).

Promises
    Types and keys are those of a real server's answers. Who may ask is settled before anything else happens
    (``guard``): over TCP only whoever knows the secret, and no web page that was not allowed; only the files
    of a dashboard are everybody's. Nobody who asks can name a file to be read, or a URL to be fetched that
    the configuration does not name. Who reads slowly is waited for a while and then let go of; nothing piles
    up for him.

Vocabulary
    refusal  an answer with a status of 400 and more, and a ``message``
    stream   an answer without an end: lines of JSON, or the messages of a WebSocket

Theory of operation
    ``Clash`` in ``service`` is what the supervisor makes at its start, without aiohttp; for the first client
    it makes an application of what ``app`` knows. Files named for what they answer about have the handlers:
    ``basics``, ``proxies``, ``rules``, ``connections``, ``live``, ``names``, ``storage``;
    what answers look like is in ``proxy_shapes``, ``rule_shapes`` and ``flow_shapes``.

    What only workers know they are asked (``asking``), all of them, with questions of control/helm. Streams
    share what is asked for them (``shared``): a hundred dashboards ask as often as one. ``listening`` opens
    the TCP port, ``state_files`` has what stays from one run to the next. ``following``
    and ``watching`` are our own streams; ``flow_places`` asks for what is new of flows.

    A dashboard itself is served by ``dashboard``, from what ``dashboard_files`` has checked. What is large
    and no stream ``large_answers`` sends; ``statuses`` reads what a test may be answered with.
"""
