"""Plugins: what they may do, how they are found, and what happens when they fail.

Promises
    Plugins import ``tunproxy.plugin.api`` and nothing else of ours; what is in there stays. A plugin that
    cannot be loaded is reported by name and left out; one that raises while a flow is decided counts as
    having no opinion. None of them can end the process.

Vocabulary
    hook        a function that a plugin may implement, declared in ``hookspecs``
    plugin      a module or object with hooks, found by the entry points of group ``tunproxy``
    fault       a hook raises, or answers what no hook may answer

Theory of operation
    ``manager.Plugins`` is a pluggy manager that loads one plugin at a time, so that it knows whom to blame,
    and hands out ``Hook`` objects in pluggy's order of calling. ``stage.PluginStage`` asks the plugins that
    decide flows. ``api`` has names only; it lies in a module because a package's ``__init__`` holds no code.

Reading order
    ``hookspecs``, ``api``, ``manager``, ``stage``
"""
