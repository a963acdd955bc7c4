"""The direct upstream: flows go to their own target, as if there were no proxy."""

from tunproxy.plugin.api import DialUpstream, Upstream, hookimpl


@hookimpl
def contribute_upstreams() -> list[Upstream]:
    """Contribute ``direct``."""
    return [DialUpstream("direct")]
