"""``tunproxy top``: the flows of a running tunproxy, live, at a terminal.

Promises
    What is drawn is what can be seen: the cost follows the terminal's height and what happens, not the number
    of flows. Nothing is drawn more often than twice a second by itself. When tunproxy stops, it says so, and
    goes on when there is one again. Without a terminal, or without textual, it can still print a table.

Vocabulary
    look    what the stream tells at one moment; a rate is of the time between two
    view    what is shown of the flows, and in which order
    item    a line of a view: a flow, or the flows of one process, rule or upstream

Theory of operation
    ``feed`` reads the stream in a thread; ``flows`` knows what it has told, and computes rates. ``view`` puts
    together what is to be shown, with ``control.flow_filter``, ``groups`` and ``columns``; ``cells`` makes
    texts fit, ``lines`` and ``head`` are what is seen. All of that knows no terminal: ``once`` prints it.
    ``command`` reads the command line, ``asking`` explains flows and ends them.

    Only ``app``, with ``table``, ``pane`` and ``dialogs``, draws, and only it needs textual.
"""
