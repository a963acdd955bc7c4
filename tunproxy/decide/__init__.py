"""Decisions: what happens to a new flow, asked once, when it begins.

Promises
    A flow always gets a verdict: what neither stages nor rules answer gets the default. Where there are none
    of both, nothing is asked and a flow pays nothing. Why a flow went where it went can be told as long as it
    lives, and for a while afterwards; what that takes is kept as it was found, and put into words only when
    somebody asks.

Vocabulary
    stage       something that is asked before the rules, such as plugins; the first opinion wins
    ruling      one generation of rules, and the ways that they lead to
    trace       what a flow's verdict rests on
    record      a trace put into words, as a document with keys that stay
    default     the verdict for flows that nobody has an opinion on

Theory of operation
    ``deciding`` is the ``Decider`` that the packet path asks, through ``switch``, which lets a reload
    exchange it. It asks each ``stage``, then its ``ruling``, which looks up only what a rule wants to know.
    What takes time is waited for aside: ``sniffing``, ``sniff_datagrams`` and the readers below ``sniffers``
    find names in what a client says first, ``settling`` resolves names and searches processes. Stages, ways
    and names are handed in by the composition root, so that nothing here knows plugins or sockets.

Reading order
    ``stage``, ``trace``, ``ruling``, ``deciding``, ``settling``, ``sniffing``; then ``hits``, ``recent``,
    ``record``, ``question``, ``explain``, ``words``.
"""
