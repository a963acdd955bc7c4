"""Upstreams: how a flow gets out, and the sockets it gets out through.

Promises
    Every socket of the packet path comes from ``sockets``, which marks it or binds it, so that it never
    comes back into the device. An upstream either names an address, which the packet path dials by
    itself without a coroutine, or is a coroutine that ends in a connected, non-blocking socket.

Vocabulary
    dial        connect in the packet path;  open: hold a conversation first, on asyncio

Reading order
    ``base``, ``sockets``, ``opening``
"""
