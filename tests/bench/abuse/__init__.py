"""The same raw packets against tunproxy and against other user-space stacks, judged by the RFCs.

    .venv/bin/python tests/bench/abuse --help

`packets` builds and reads packets, `rig` makes the namespaces and the wire, `client` is a TCP client whose
every field a case may set, `peers` starts each program, `cases_*` are the cases, `table` prints what came of
them. A case speaks to a program only in packets on its device; what reached the target is asked of ordinary
sockets there. Nothing here knows what tunproxy does.
"""
