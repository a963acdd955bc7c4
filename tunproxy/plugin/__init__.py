"""Plugins: what they may do, how they are found, and what happens when they fail.

Promises
    Plugins import ``tunproxy.plugin.api`` and nothing else of ours; what is in there stays. A plugin that
    cannot be loaded is reported by name and left out; one that fails while a flow is decided counts as
    having no opinion, and one that goes on failing is left alone for a while. None can end the process.

Vocabulary
    hook        a function that a plugin may implement, declared in ``hookspecs``
    plugin      a module or object with hooks: an entry point of group ``tunproxy``, or a file
    fault       a hook raises, answers what no hook may answer, or takes too long
    options     what the user may say to a plugin, an instance of a dataclass that it declares

Theory of operation
    ``discovery`` says what there is, ``settings`` what the user wants of it. A ``Registry`` has a pluggy
    manager and loads one plugin at a time, so that it knows whom to blame, and hands out ``Hook`` objects in
    the order of asking. ``Plugins`` is one that collects what plugins contribute. Whatever is asked while
    flows run is asked through the ``Ledger``, which takes the time and counts faults. What changes on the
    disk becomes new ``Plugins`` (``reload``); the old ones stay as they are for whoever has them. ``api`` has
    names only; it lies in a module because a package's ``__init__`` holds no code.

Reading order
    ``records``, ``contributions``, ``hookspecs``, ``api``; ``settings``, ``options``, ``discovery``;
    ``hook``, ``hook_checks``, ``ledger``, ``registry``, ``manager``; ``stage`` with ``waiting``,
    ``rule_kinds``, ``resolving``, ``routes``, ``events``, ``observing``, ``telling``; ``reload``, ``doctor``,
    ``template``
"""
