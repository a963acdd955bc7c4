"""Lines about what happens: for people at a console, for programs as JSON, for systemd's journal with fields.

Promises
    A line never raises, and never waits long: where nobody takes it, it is lost, and counted. Who logs uses
    Python's ``logging``; what a line is about goes along as fields (``about``): the flow, the rule, the
    upstream, the worker. Nothing here is on the way of a packet.

Vocabulary
    notice     a line for whoever has started us, between a warning and mere information; ``tell`` writes it
    field      a name and a text beside a line's words, which a console does not show
    form       how lines look: one of ``FORMATS``

Theory of operation
    ``set_up`` puts one handler at the root of ``logging``: ``StderrHandler`` with a formatter of ``console``
    (one is for systemd, with priorities) or ``lines`` (JSON, by structlog), or ``JournalHandler``, which
    speaks the journal's own protocol. Whoever is forked calls ``in_worker``. As long as nobody has called
    ``set_up``, notices go to standard error as they are, and warnings the way Python has for them. What an
    upstream does that none may is told by ``faults``, once and then how often.
"""
