"""One thread, one epoll: the packet path inside the ``select()`` of asyncio's own loop.

Promises
    Descriptors of the packet path are served without an asyncio handle or task; everything else on the
    loop (coroutines of plugins, name look-ups, the control channel) is ordinary asyncio and is never
    starved: ``select()`` returns as soon as asyncio has something to do.

Vocabulary
    foreign     a descriptor that asyncio registered, in contrast to one of the packet path
    burst       how many frames are read from the device in one turn

Theory of operation
    ``dataplane.Dataplane`` owns the epoll, the device, the tables and the ``timers.TimerWheel``; its
    ``poll`` is the body of ``selector.PacketSelector.select``. A turn is: wait, serve sockets, read a
    burst from the device, settle the flows that were touched, fire timers. The device comes last because
    only it opens new sockets, whose numbers must not meet events of closed ones.

Reading order
    ``timers``, ``dataplane``, ``selector``
"""
