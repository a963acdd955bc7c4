"""The commands: words of the user become settings, errors become one line and an exit code.

Promises
    Bad input is never a traceback. What a command prints for programs goes to standard output, all else
    to standard error. ``exec`` ends as its command does, by exit code or signal; what is wrong with our own
    options or the host is exit code 2, and to ask for the status of nobody is 3.

Theory of operation
    ``options`` has what several commands take, ``status_text`` how a status reads, ``rules`` and ``convert``
    what can be done with rule files, ``pytest_rules`` the same for pytest, ``service`` what is done about
    systemd, ``running`` what a running tunproxy is told. ``streams`` sees to standard streams that are closed
    or full, ``arguments`` to how ``--help`` shows what a command takes. ``main`` has the commands, each a
    thin layer over a function of ``control``, which it imports only when it runs, so that ``--help`` is
    quick.
"""
