"""Shadowsocks over UDP, as the server: a socket for each place where clients come in, and an outlet for each.

Every worker serves it. A session stays in the worker that heard it first, wherever its client speaks from.
"""

import asyncio
import socket
from typing import Final

from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import ShadowsocksError
from tunproxy.codecs.shadowsocks_packet_server import PacketServer, PacketSession
from tunproxy.codecs.shadowsocks_sessions import ElsewhereError
from tunproxy.relay.desks import Address, Desk, parse_handed
from tunproxy.relay.limits import Account
from tunproxy.relay.metrics import DATAGRAMS_DROPPED
from tunproxy.relay.outlet import AT_ONCE, MAX_DATAGRAM, Outlet
from tunproxy.relay.service import SHADOWSOCKS, Service, shadowsocks_keys
from tunproxy.relay.settings import RelayConfig
from tunproxy.relay.shadowsocks_server import host_of

# our choice
MAX_CLIENTS: Final = 4096  # of one worker
MAX_HANDED: Final = 1 << 17  # octets: the largest datagram, and its head

Key = bytes | Address  # a session of the edition of 2022; in that of 2017 a place, and where it comes from


class _Client:
    """A client with its outlet. sock and address are by which, and from where, it was heard last."""

    def __init__(
        self, session: PacketSession, sock: socket.socket, address: Address, account: Account
    ) -> None:
        self.session = session
        self.sock = sock
        self.address = address
        self.account: Final = account
        self.active_at = 0.0
        self.outlet: Outlet | None = None


class ShadowsocksDatagrams:
    """The datagrams that come to one worker's desk."""

    def __init__(self, desk: Desk, config: RelayConfig, service: Service) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._desk: Final = desk
        self._service: Final = service
        self._idle: Final = config.limits.udp_idle
        keys = shadowsocks_keys(config)
        self._is_2022: Final = keys.method.is_2022
        self._server: Final = PacketServer(keys, sessions=desk.sessions, salts=desk.salts)
        self._clients: Final[dict[Key, _Client]] = {}
        for place, sock in enumerate(desk.socks):
            self._loop.add_reader(sock.fileno(), self._on_datagrams, place, sock)
        self._loop.add_reader(desk.inbox.fileno(), self._on_handed)

    def __len__(self) -> int:
        return len(self._clients)

    def close(self) -> None:
        """Take no more, and let all clients go."""
        for sock in (*self._desk.socks, self._desk.inbox):
            self._loop.remove_reader(sock.fileno())
        self._desk.close()
        for key in list(self._clients):
            self._let_go(key)

    def forget_idle(self, now: float) -> None:
        """Let clients go that nothing was said by, or to, for too long."""
        for key, client in list(self._clients.items()):
            if now - client.active_at > self._idle:
                self._let_go(key)
            elif self._is_2022:
                try:
                    self._server.keep(client.session)
                except ShadowsocksError:  # it was silent for so long that another worker has it
                    self._let_go(key)

    def _on_datagrams(self, place: int, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                datagram, address = sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue
            self._take(place, address, datagram, is_handed=False)

    def _on_handed(self) -> None:
        for _ in range(AT_ONCE):
            try:
                place, address, datagram = parse_handed(self._desk.inbox.recv(MAX_HANDED))
            except OSError:
                return
            self._take(place, address, datagram, is_handed=True)

    def _take(self, place: int, address: Address, datagram: bytes, *, is_handed: bool) -> None:
        tally = self._service.tally
        try:
            session, source, payload = self._server.open(datagram)
        except ElsewhereError as elsewhere:
            if is_handed or not self._desk.hand_over(elsewhere.owner, place, address, datagram):
                tally.add(DATAGRAMS_DROPPED)
            return
        except ShadowsocksError as error:
            tally.add(DATAGRAMS_DROPPED)
            self._service.complaints.take(str(address[0]), f"Shadowsocks: {error}")
            return
        client = self._client_of(session, place, address)
        if client is None or client.outlet is None:
            tally.add(DATAGRAMS_DROPPED)
            return
        client.sock, client.address = self._desk.socks[place], address
        client.active_at = self._loop.time()
        client.outlet.send(host_of(source), source.port, payload)

    def _client_of(self, session: PacketSession, place: int, address: Address) -> _Client | None:
        """Return a client, which has an outlet from now on; None where there is no room for it."""
        key: Key = session.id if self._is_2022 else (place, *address)
        known = self._clients.get(key)
        if known is not None:
            known.session = session
            return known
        service = self._service
        account = service.accounts[f"{SHADOWSOCKS}:{session.user}" if session.user else SHADOWSOCKS]
        if len(self._clients) >= MAX_CLIENTS or not account.begin():
            service.complaints.take(account.name, "there are as many clients of datagrams as there may be")
            return None
        service.tally.on_request("shadowsocks-udp")
        client = _Client(session, self._desk.socks[place], address, account)
        client.outlet = Outlet(
            service.dialer,
            account,
            service.tally,
            lambda host, port, payload: self._reply(client, host, port, payload),
        )
        self._clients[key] = client
        return client

    def _reply(self, client: _Client, host: str, port: int, payload: bytes) -> None:
        client.active_at = self._loop.time()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        source = emit_address(socket.inet_pton(family, host.partition("%")[0]), port)
        try:
            client.sock.sendto(self._server.seal(client.session, source, payload), client.address)
        except OSError:
            self._service.tally.add(DATAGRAMS_DROPPED)

    def _let_go(self, key: Key) -> None:
        client = self._clients.pop(key)
        client.account.end()
        if client.outlet is not None:
            client.outlet.close()
        if self._is_2022:
            self._server.forget(client.session)
