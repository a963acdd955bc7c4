"""Groups for tests: members of which one knows how they are doing, and flows."""

import importlib
import socket
from collections.abc import Mapping

from tunproxy.flow.verdict import FlowInfo
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.base import DialUpstream, Unreached, Upstream
from tunproxy.upstream.group import Group, bind_groups
from tunproxy.upstream.health import Health
from tunproxy.upstream.types import UpstreamType, build_from_url


def types(*names: str) -> dict[str, UpstreamType]:
    """Return the upstream types of plugins of ours."""
    plugins = Plugins()
    for name in names or ("groups", "socks", "http"):
        assert plugins.register(importlib.import_module(f"tunproxy_plugins.{name}"), name)
    return plugins.upstream_types()


def flow(
    target: str = "192.0.2.7", host: str = "", protocol: str = "tcp", client: str = "10.0.0.2"
) -> FlowInfo:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    packed = socket.inet_pton(family, target)
    return FlowInfo(protocol, socket.inet_aton(client), 40000, packed, 443, host)


def proxy(url: str, name: str) -> Upstream:
    return build_from_url(url, types(), name)


class World:
    """Groups, described as in a configuration, and their members: proxies a, b, c, … and those given."""

    def __init__(
        self, groups: Mapping[str, Mapping[str, object]], upstreams: str = "abc", **more: Upstream
    ) -> None:
        known = types()
        self.health = Health()
        self.all: dict[str, Upstream] = {
            name: proxy(f"socks5://192.0.2.{ord(name)}:1080", name) for name in upstreams
        }
        self.all["direct"] = DialUpstream("direct")
        self.all |= more
        for name, table in groups.items():
            options = {key: value for key, value in table.items() if key != "type"}
            self.all[name] = known[str(table["type"])].build(name, options)
        self.watches = bind_groups(self.all, self.health)
        self.health.adopt(self.watches)

    def group(self, name: str) -> Group:
        found = self.all[name]
        assert isinstance(found, Group)
        return found

    def takes(self, name: str, info: FlowInfo | None = None) -> str:
        """Return which upstream a flow through a group goes to."""
        return self.all[name].verdict_for(info or flow()).upstream

    def tested(self, group: str, **delays: int) -> None:
        """Have tests of the members of a group take so many ms; those that take 0 fail."""
        plan = self.group(group).plan
        assert plan is not None
        for name, ms in delays.items():
            record = self.health.record(self.all[name], plan.url)
            assert record is not None
            if ms:
                record.succeeded(ms, 0.0)
            else:
                record.failed("no answer", 0.0)
        self.health.changes += 1

    def unreached(self, name: str) -> None:
        """Have a flow fail to reach a proxy."""
        self.health.on_suspect(self.all[name], Unreached("cannot reach it"))
