"""The host's own configuration and processes: the only package that changes them.

Promises
    Every change of the network configuration is a ``Change`` with ``apply`` and ``revert``. Both may be
    repeated, and ``revert`` also cleans up after an ``apply`` that failed half-way. What the kernel removes
    by itself when our device vanishes may be gone already when ``revert`` comes: that is no error.
    Errors of the kernel and of pyroute2 become ``SystemChangeError``, one line that says what to do.

Vocabulary
    change      something of the host that is different while we run
    table       our own routing table: empty when we are gone, and a lookup in an empty table falls through
    rule        a policy rule; ours have a range of priorities and a protocol number of their own
    scope       what is captured of what this host sends, and of what it forwards
    lane        prefixes whose packets stay in the kernel, because the rules send them direct anyway
    worker      the process that carries the packets, under a user of its own

Theory of operation
    ``netlink`` is the file that knows pyroute2, with ``rule_messages``; ``pyroute`` loads what it needs.
    ``nft`` asks it for tables where libnftables is missing, ``ethtool`` for settings of links.
    ``links``, ``routes``, ``rules`` and ``lane``, with ``exceptions``, hold the changes. ``scope`` says what
    rules are made of; ``cgroups`` has programs of a control group marked, ``answer_marks`` what is forwarded
    as an answer, ``nft`` holds a table of nftables, all for as long as we live.
    ``owners`` finds the process of a flow, ``process`` and ``containers`` describe it.
    ``bus`` is the one file that knows dbus-fast; ``resolved`` and ``network_manager`` ask by it.
    ``leak_table`` counts who asks for names past us.
    ``libc`` has the system calls that Python lacks, ``addresses`` the addresses of our links;
    ``namespaces``, ``resolver`` and ``privileges`` say what they are for. ``jobs`` keeps a command and its
    terminal in step with the process that waits for it. ``descriptors`` hands what is open from one
    process to another, ``libraries`` keeps modules in reach of one that gives its rights up. ``closing``
    tells which connections a command has left unfinished. ``service`` installs us under systemd, with the
    unit of ``service_unit``; ``notify`` tells systemd how far we are.

    ``monitor`` hears that the network has changed, ``surroundings`` says what it is like now, and each
    change can be mended. ``kill_switch`` is the one change that is meant to outlive us.
"""
