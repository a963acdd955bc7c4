"""The TCP engine: segments and time in, segments, deadlines and stream bytes out.

Promises
    No I/O, no clock, no randomness: the same state, segment and ``now`` give the same new state and the
    same output. Bytes are delivered once, in order, unaltered. The advertised right edge never moves
    left. Memory is bounded by ``rcv_buf_most`` and OVERDRAFT, and by the peer's window and SND_BUF.

Vocabulary
    ``snd_una snd_nxt snd_wnd rcv_nxt`` … are RFC 9293's; ``conn`` is one ``Connection``; ``out`` is where
    finished frames go (``wire.sink``). ``rcv_adv`` is the right edge that we have advertised.

Theory of operation
    ``passive.open_passive`` makes a connection from a SYN but does not answer it: the owner does that with
    ``accept`` once the target is known to answer, or with ``refuse``; or it keeps nothing, answers with a
    ``cookie``, and has ``reopen`` make the connection when the ACK comes. After that the owner calls
    ``receive.receive`` for each segment, takes the bytes out of ``rcv_queue`` and says so with
    ``took``, puts bytes in with ``queue``, and calls ``transmit.transmit`` when a batch is done and
    ``deadline.on_deadline`` when ``next_deadline`` has come. State changes go through ``state.enter``.
    Retransmission: ``snd_nxt`` never moves back. What loss recovery knows is one object, ``recovery``, made
    when it is first of use. What is believed lost is in its ``rack.lost``, or, without SACK, in [``rtx_nxt``,
    ``lost_until``); ``retransmit`` sends it again before anything new, as far as ``prr`` and ``congestion``
    allow. ``tlp`` asks after what nothing follows.

Reading order
    ``seq``, ``state``, ``connection``, ``passive``, ``receive``, ``transmit``, ``retransmit``, ``segments``,
    ``deadline``; beside them ``send_buffer``, ``assembler``, ``recovery``, ``recovery_state``,
    ``scoreboard``, ``rack``, ``prr``, ``tlp``, ``rtt``, ``round_trip``, ``congestion``, ``cubic``, ``ecn``,
    ``cookie``, ``keepalive``, ``path_mtu``, ``dsack``, ``active``, ``autotune``
"""
