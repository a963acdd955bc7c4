"""The hooks, in the order of their calling in the life of a worker."""

from collections.abc import Iterable, Mapping
from typing import Final

import pluggy

from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.upstream.base import Upstream

PROJECT: Final = "tunproxy"  # also the group of entry points

hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


@hookspec
def contribute_upstreams() -> Iterable[Upstream] | None:
    """Return upstreams that flows may be sent to.

    Called once, when the worker starts: before the first flow, outside the loop, and with the rights that
    the worker has before it gives them up. Names are unique; of two upstreams with one name the first
    stays. A plugin that raises contributes nothing, and the fault is logged with its name.
    """


@hookspec(firstresult=True)
def decide_flow(info: FlowInfo, upstreams: Mapping[str, Upstream]) -> Verdict | None:
    """Choose what happens to a new flow; the first answer that is not None wins.

    Called once per TCP flow, when its SYN arrives, on the thread of the packet path: return within a
    millisecond and never block. upstreams holds all that were contributed, by name:
    ``upstreams["direct"].verdict()`` sends the flow there. With no answer from any plugin the flow goes the
    default way. A plugin that raises, or answers anything else, has no opinion: the fault is logged with
    its name and counted, and after some in a row it is not asked any more.
    """
