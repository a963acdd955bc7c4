"""The hooks, in the order of their calling in the life of a worker.

Every hook but the first may ask for ``options``: the plugin's own, an instance of the dataclass that
``contribute_options`` returns, None without one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pluggy

from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.plugin.contributions import CodecType, Command, Resolver, Route, RuleKind
from tunproxy.plugin.records import FlowClosed, FlowOpened, StreamObserver
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.types import UpstreamType

PROJECT: Final = "tunproxy"  # also the group of entry points

hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


@hookspec
def contribute_options() -> type | None:
    """Return the dataclass whose fields are the options that users may, or have to, give the plugin.

    Called once, when the plugin is loaded, before every other hook. What stands in ``[plugins.NAME]`` is
    checked against it; where that does not fit, the plugin is left out, and a message says which option is
    wrong. A plugin that raises is left out as well.
    """


@hookspec
def contribute_upstream_types(options: Any) -> Iterable[UpstreamType] | None:
    """Return kinds of upstreams that users may ask for in the configuration, or as the scheme of a URL.

    Called once for each policy: when the worker starts and when it reads its configuration again. Names are
    unique; of two types with one name the first stays. A plugin that raises contributes nothing, and the
    fault is logged with its name.
    """


@hookspec
def contribute_upstreams(options: Any) -> Iterable[Upstream] | None:
    """Return upstreams that flows may be sent to.

    Called once for each policy: when the worker starts, before the first flow, outside the loop, and with
    the rights that the worker has before it gives them up; and when it reads its configuration again, or a
    plugin has changed. Names are unique; of two upstreams with one name the first stays.
    A plugin that raises contributes nothing, and the fault is logged with its name.
    """


@hookspec
def contribute_codecs(options: Any) -> Iterable[CodecType] | None:
    """Return kinds of codecs: what may be done to a stream between us and an upstream.

    The configuration asks for one by ``codec = "NAME"`` in the table of an upstream. Called once for each
    policy, as ``contribute_upstreams`` is. Names are unique. A plugin that raises contributes nothing, and
    the fault is logged with its name; a codec that raises ends its flow.
    """


@hookspec
def contribute_resolvers(options: Any) -> Iterable[Resolver] | None:
    """Return resolvers that names may be looked up with.

    The configuration asks for one by its name among ``servers`` or ``domains`` of ``[dns]``. Called once for
    each policy, as ``contribute_upstreams`` is. Names are unique. A plugin that raises
    contributes nothing, and the fault is logged with its name. So is a ``resolve`` that raises anything but
    OSError, or answers what is no address; whoever asked gets an honest failure.
    """


@hookspec
def contribute_rule_kinds(options: Any) -> Iterable[RuleKind] | None:
    """Return types of rules that users may write beside those that are built in.

    Called once for each policy, before its rules are read. Names are unique, in capitals, and none of those
    built in. ``make`` is called once for each rule, ``match`` on the thread of the packet path, whenever a
    flow comes to the rule. A plugin that raises contributes nothing, and the fault is logged with its name;
    a ``match`` that raises has not matched, and is counted.
    """


@hookspec
def contribute_routes(options: Any) -> Iterable[Route] | None:
    """Return parts of the API, below ``/plugins/NAME``.

    Called once, when somebody first asks for one, and once more after plugins have changed. Handlers are
    coroutines on the loop. A plugin that raises contributes nothing, and the fault is logged with its name; a
    handler that raises, or takes longer than five seconds, is answered for with status 500, and counted.
    """


@hookspec
def contribute_commands(options: Any) -> Iterable[Command] | None:
    """Return commands of the command line: ``tunproxy NAME``, and ``tunproxy plugins run NAME``.

    Called once, in the process of the command, never in the worker, and only where the name that somebody
    wrote is none of ours. Names are unique, and our own come first. A plugin that raises
    contributes nothing, and the fault is reported with its name.
    """


@hookspec(firstresult=True)
def decide_flow(info: FlowInfo, upstreams: Mapping[str, Upstream], options: Any) -> Verdict | None:
    """Choose what happens to a new flow; the first answer that is not None wins.

    Called once when a flow begins, on the thread of the packet path: return within a millisecond and never
    block. A TCP flow begins with its SYN; in a flood of SYNs, when the client has proved that it is there,
    and where descriptors run out in between, a second time. A UDP flow begins with the first datagram from
    a client's port to a target, a ping ("icmp", ports 0) with the first echo request of an identifier to a
    target; both begin anew after they were idle, and what was refused after ten seconds.

    It may be a coroutine, which is not asked about pings. The client waits for its SYN, ACK while it runs,
    or its datagrams are kept, five seconds at most; other flows do not wait.

    upstreams holds all that were contributed, by name: ``upstreams["direct"].verdict_for(info)`` sends the
    flow there. With no answer from any plugin the rules decide. A plugin that raises, takes longer than
    50 ms, or answers anything else, has no opinion: the fault is logged with its name and counted, and after
    some in a row it is not asked for a while.
    """


@hookspec
def observe_flow(info: FlowInfo, options: Any) -> StreamObserver | None:
    """Return what is to look at the octets of a flow, None for a flow that does not matter.

    Called once for each TCP flow, when its way is open, on the thread of the packet path: return within a
    millisecond. The observer gets copies, after they have been passed on. A plugin that raises, there or in
    the observer, is logged and counted as one that decides is, and that observer sees no more of its flow.
    """


@hookspec
def flow_opened(flows: Sequence[FlowOpened], options: Any) -> None:
    """Take note of flows whose way is open.

    Called once for each batch: a tenth of a second's flows, outside the packet path but on its thread. May
    be a coroutine; then the next batch waits until it is done. A plugin that raises is logged and counted as
    one that decides is; the batch is lost to it, and to nobody else.
    """


@hookspec
def flow_closed(flows: Sequence[FlowClosed], options: Any) -> None:
    """Take note of flows that are over, after they were told as opened where they were.

    Called once for each batch, as ``flow_opened`` is. A plugin that raises is dealt with in the same way.
    """
