"""The composition root: settings become devices, processes and a running packet path.

Promises
    Settings are checked before anything on the host is changed. Whatever was changed is reverted when we
    end, in any way in which we can still act; and when we cannot (kill -9), nothing stays behind that
    keeps packets from their way, unless a kill switch was asked for.

Vocabulary
    settings    what the user asked for: frozen, checked, and not known below this level
    worker      the process, or part of one, that runs the packet path
    supervisor  the process that changes the host, starts the worker, and puts things back
    endpoint    the Unix socket at which a running tunproxy is found and asked

Theory of operation
    ``execute`` gives one command a network of its own: a child makes namespaces and device, sends us the
    device, and becomes the command. ``up`` serves a whole network namespace, changes its routes, and is
    then ``supervising``. Both are supervisors and fork a worker (``process``); ``worker`` runs the packet
    path that ``worker_parts`` puts together, with ``tables`` as ``worker_settings`` and the process's limits
    want them.
    ``settings`` has what users may ask for, ``serving`` what supervisors know of the packet path.

    While it runs, the supervisor asks its worker over a socket pair (``questions``), where ``snapshot``
    answers; ``status`` makes a document of that, and ``api`` serves it at the ``endpoint``, to ``client``.
    ``clash`` is the part of the API that dashboards speak, ``helm`` what answers and obeys in the worker.
    ``name_duties`` are what ``up`` does about names: ``dns_takeover``, ``leaks`` and ``draining``; whom the
    host asks is found by ``resolver_search``, and ``host_resolvers`` follow when that changes.
    ``notifying`` keeps a service manager informed; ``rescue`` removes what a killed ``up`` has left.
    ``reconcile`` keeps ``up`` in step with a network that changes, and tells the workers
    (``workers_told``), where ``uplink`` does what follows. ``kill_switch`` is put last, and outlives all
    ends but those that are asked for; ``loop_guard`` cuts proxies off whose own flows come back to us.

    ``config`` reads tunproxy.toml and what it names, ``masking`` hides its secrets; ``policy`` puts
    together what decides. In the worker ``keeper`` has the policy in force; ``reload`` gives it the means
    for a new one when files change.
"""
