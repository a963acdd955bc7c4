"""What all connections of one worker share: settings, users and their accounts, targets, and what is open."""

import asyncio
import logging
import socket
from collections.abc import Mapping
from typing import Final, Protocol

from tunproxy.codecs.dictionary import read_dictionary
from tunproxy.codecs.named import CodecSettings, Named, choose, make, parse
from tunproxy.codecs.shadowsocks_keys import ServerKeys, server_keys
from tunproxy.control.settings import octets
from tunproxy.errors import RemoteProtocolError
from tunproxy.flow.codec import Codec
from tunproxy.relay.dialing import Dialer
from tunproxy.relay.failures import BAD, RequestFailed
from tunproxy.relay.limits import Account
from tunproxy.relay.metrics import OPEN, Tally
from tunproxy.relay.passwords import PasswordHash
from tunproxy.relay.pump import Flow
from tunproxy.relay.settings import CodecsTable, RelayConfig
from tunproxy.relay.targets import Targets, parse_entry
from tunproxy.relay.tls_server import make_context
from tunproxy.relay.users import ANONYMOUS, Users
from tunproxy.secret import Secret
from tunproxy.upstream.complaints import Complaints

SHADOWSOCKS: Final = "shadowsocks"  # the user whose flows are those of a Shadowsocks key without users

_log: Final = logging.getLogger(__name__)


class Going(Protocol):
    """Something that goes on between a client and targets, and may be ended."""

    active_at: float  # in the loop's time

    @property
    def is_half_open(self) -> bool:
        """Whether one of its ends says no more."""

    def cut(self, why: str) -> None:
        """End it now."""


def user_limits(config: RelayConfig) -> Mapping[str, tuple[int, int]]:
    """Return the limits, connections and octets a second, of everybody who may have flows, by name."""
    found = {name: (user.connections, octets(user.rate)) for name, user in config.users.items()}
    if not found:
        found[ANONYMOUS] = (0, 0)
    if config.shadowsocks is not None:
        limits = (config.shadowsocks.connections, octets(config.shadowsocks.rate))
        names = [f"{SHADOWSOCKS}:{name}" for name in config.shadowsocks.users] or [SHADOWSOCKS]
        found.update(dict.fromkeys(names, limits))
    return found


class Service:
    """One worker's. Made inside a running loop, from settings that have been checked."""

    def __init__(self, config: RelayConfig, tally: Tally) -> None:
        loop = asyncio.get_running_loop()
        self.config: Final = config
        self.tally: Final = tally
        self.users: Final = Users(_passwords(config))
        self.accounts: Final = {
            name: Account(number, name, connections, rate, tally, loop.time)
            for number, (name, (connections, rate)) in enumerate(user_limits(config).items())
        }
        targets = config.targets
        self.dialer: Final = Dialer(
            Targets(
                map(parse_entry, targets.allow),
                map(parse_entry, targets.deny),
                default=targets.default == "allow",
            ),
            config.limits.connect,
        )
        tls = config.tls
        self.tls: Final = None if tls is None else make_context(tls.certificate, tls.key, tls.client_ca)
        self.complaints: Final = Complaints(loop, _log.warning)
        self.going: Final[set[Going]] = set()
        self._codecs: Final = codec_settings(config.codecs)

    def close(self) -> None:
        """Let go of threads, and tell what has not been told."""
        self.users.close()
        self.dialer.close()
        self.complaints.close()

    def choose_codec(self, wishes: str) -> Named | None:
        """Return what becomes of a client's wishes; None for an ordinary tunnel. Raises RequestFailed."""
        if not wishes:
            return None
        try:
            return choose(parse(wishes), self._codecs, self.config.codecs.offer)
        except RemoteProtocolError as error:
            raise RequestFailed(BAD, str(error)) from error

    def make_codec(self, chosen: Named) -> Codec:
        """Return a codec for one flow."""
        return make(chosen.name, chosen.parameters, self._codecs)

    def begin(self, going: Going) -> None:
        """Note that something goes on, until ``end``."""
        self.going.add(going)

    def end(self, going: Going) -> None:
        self.going.discard(going)

    def carry(
        self,
        what: str,
        account: Account,
        client: socket.socket,
        codec: Codec | None,
        target: socket.socket,
        early: bytes,
    ) -> None:
        """Have a flow from now on, which closes both sockets and gives the account its connection back.

        what is the flow for people, early what the client has said already.
        """
        began_at = asyncio.get_running_loop().time()

        def on_over(flow: Flow, why: str) -> None:
            self.end(flow)
            self.tally.add(OPEN, -1)
            account.end()
            if "spoiled" in why:
                self.complaints.take(what, why)
            self.note("flow %s: %s (up %d, down %d octets, %.1f s)", what, why, flow.up, flow.down,
                      flow.active_at - began_at)  # fmt: skip

        self.tally.on_outcome("opened")
        flow = Flow(client, codec, target, account, on_over)
        self.begin(flow)
        flow.start(early)

    def cut_idle(self, now: float) -> None:
        """End what nothing has happened to for too long."""
        limits = self.config.limits
        for each in list(self.going):
            limit = limits.half_open if each.is_half_open else limits.idle
            if now - each.active_at > min(limit, getattr(each, "idle_limit", limit)):
                each.cut("idle")

    def note(self, line: str, *values: object) -> None:
        """Tell of one flow, where that is wanted."""
        if self.config.log_flows:
            _log.info(line, *values)


def shadowsocks_keys(config: RelayConfig) -> ServerKeys:
    """Return the keys of the Shadowsocks listener, which there is."""
    table = config.shadowsocks
    assert table is not None
    users = {name: secret.reveal() for name, secret in table.users.items()}
    return server_keys(table.method, table.password.reveal(), users)


def codec_settings(table: CodecsTable) -> CodecSettings:
    """Return what the codecs of this end are made with."""
    return CodecSettings(
        zstd_level=table.zstd_level,
        gzip_level=table.gzip_level,
        dictionary=read_dictionary(table.dictionary) if table.dictionary else None,
        compress_secrets=table.compress_secrets,
    )


def _passwords(config: RelayConfig) -> dict[str, Secret | PasswordHash]:
    found: dict[str, Secret | PasswordHash] = {}
    for name, user in config.users.items():
        if user.password is not None:
            found[name] = user.password
        elif user.password_hash is not None:
            found[name] = PasswordHash(user.password_hash.reveal())
    return found
