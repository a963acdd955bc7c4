"""Everything a plugin may use: ``from tunproxy.plugin.api import hookimpl``."""

from tunproxy.errors import ConfigError
from tunproxy.flow.verdict import DROP, REJECT, FlowInfo, Verdict
from tunproxy.plugin.hookspecs import hookimpl
from tunproxy.upstream.base import (
    REFUSED,
    SILENT,
    UNREACHABLE,
    Dialer,
    DialUpstream,
    OpenError,
    OpenUpstream,
    Upstream,
)

__all__ = [
    "DROP",
    "REFUSED",
    "REJECT",
    "SILENT",
    "UNREACHABLE",
    "ConfigError",
    "DialUpstream",
    "Dialer",
    "FlowInfo",
    "OpenError",
    "OpenUpstream",
    "Upstream",
    "Verdict",
    "hookimpl",
]
