"""The policy: what the packet path asks about each new flow, put together from plugins and a default."""

from typing import Final

from tunproxy.decide.pipeline import build_decider
from tunproxy.errors import ConfigError
from tunproxy.flow.ports import Decider
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.stage import PluginStage

DEFAULT_UPSTREAM: Final = "direct"


def load_decider(plugins: Plugins | None = None, *, default: str = DEFAULT_UPSTREAM) -> Decider:
    """Return the decider that asks plugins and sends the rest to the upstream named default.

    Without plugins, those that are installed are loaded. Raises ConfigError when nobody contributes the
    default upstream: there is no way out then.
    """
    if plugins is None:
        plugins = Plugins()
        plugins.load_installed()
    upstreams = plugins.upstreams()
    if default not in upstreams:
        raise ConfigError(f"no upstream {default!r}: {_why_missing(plugins, default)}")
    hooks = plugins.hooks("decide_flow")
    stages = [PluginStage(hooks, upstreams)] if hooks else []
    return build_decider(stages, upstreams[default].verdict("default"))


def _why_missing(plugins: Plugins, name: str) -> str:
    if name in plugins.problems:
        return f"plugin {name} {plugins.problems[name]}"
    return f"no plugin contributes it (installed: {', '.join(plugins.names) or 'none'}; reinstall tunproxy)"
