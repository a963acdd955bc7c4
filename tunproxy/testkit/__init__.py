"""What plugin authors test with, offline: flows, time and a network that are made up.

Promises
    Nothing here opens a connection, needs rights, or waits. A test that passes says what the plugin
    answers, not what this machine's network was like. A fault of the plugin raises, where the worker would
    log it and go on.

Vocabulary
    runner      loads one plugin and asks its hooks as the worker does
    script      what a server of the simulated network expects and says
    virtual     of a clock: it moves only when everybody waits, and then at once

Theory of operation
    ``tunproxy.testing`` has the names for authors. ``PluginRunner`` has real ``Plugins`` of one plugin, and
    runs coroutines on a ``VirtualLoop``, whose clock jumps to the next timer. ``SimulatedNetwork`` is a
    ``Dialer`` whose sockets are pairs inside the process; at the other end is a coroutine, mostly a
    ``Script``.

Reading order
    ``flows``, ``virtual``, ``script``, ``network``, ``runner``
"""
