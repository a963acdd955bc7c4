"""History: flows that are over, kept on the disk with the reasons; and what other rules would do with them.

Promises
    Who records never delays a packet: a worker keeps what has ended in a list, puts it into words aside, and
    so many a second; what is more is counted, not kept. The file stays below its size, holds nothing older
    than its age, and survives the death of whoever writes it. A replay asks the rules as the packet path
    does: with the rules that decided, nothing changes.

Vocabulary
    entry       what is kept of a flow: where it went and why, what it carried, what the rules knew of it
    ring        the file: the oldest entries make room
    gap         flows that were not recorded, how many and why
    target      what a rule names: an upstream, a group, a built-in one by its plain name

Recording
    An ``outbox`` in each worker has what ended; ``entry`` puts it into words. The supervisor's ``recorder``
    asks for it each second, and has a thread write it into the ``store``. ``spans`` reads sizes and times of
    ``[history]``, ``places`` says where the file is.

Looking back
    ``query`` finds entries. A ``replay`` asks rules about entries, or about flows that ``captured`` finds in
    the packets of a ``capture_file`` (each a ``captured_flow``), and ``changes`` adds up which would go
    elsewhere.
"""
