"""All handlers together, as one application has them."""

from aiohttp import web

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.basics import Basics
from tunproxy.control.clash.connections import Connections, FlowList
from tunproxy.control.clash.dashboard import Dashboard
from tunproxy.control.clash.following import Following
from tunproxy.control.clash.listening import Listening
from tunproxy.control.clash.live import Live, Log, Totals
from tunproxy.control.clash.names import Names
from tunproxy.control.clash.proxies import Proxies
from tunproxy.control.clash.rules import Rules
from tunproxy.control.clash.state_files import StateFiles
from tunproxy.control.clash.storage import Storage
from tunproxy.control.clash.streams import Streams
from tunproxy.control.clash.watching import Watching
from tunproxy.control.helm.wishes import Wishes
from tunproxy.control.reload import Reloader


def add_handlers(
    app: web.Application,
    asking: Asking,
    reloader: Reloader,
    wishes: Wishes,
    state: StateFiles,
    tun: str,
    listening: Listening | None = None,
) -> None:
    """Add what answers as Clash does; tun is the device's name, listening the TCP port."""
    router = app.router
    streams = Streams()
    flows = FlowList(asking)
    totals = Totals(asking)
    basics = Basics(asking, reloader, wishes, tun)
    basics.add_to(router)
    Proxies(asking, wishes, state).add_to(router)
    Rules(asking, reloader, wishes).add_to(router)
    connections = Connections(asking, flows, totals, streams)
    connections.add_to(router)
    Live(totals, Log(asking, flows), streams, lambda: basics.log_level).add_to(router)
    Names(asking).add_to(router)
    Storage(state).add_to(router)
    Following(asking, streams).add_to(router)
    Watching(asking, streams).add_to(router)
    Dashboard(tun, listening).add_to(router)

    async def close(_: web.Application) -> None:
        for each in (streams, connections, totals, flows):
            await each.close()

    app.on_shutdown.append(close)
