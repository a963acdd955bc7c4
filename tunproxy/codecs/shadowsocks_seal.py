"""Shadowsocks as what is done to each datagram of a way: the packet path's side of ``shadowsocks_packet``."""

from typing import Final

from tunproxy.codecs.shadowsocks_keys import Keys, ShadowsocksError
from tunproxy.codecs.shadowsocks_packet import PacketClient
from tunproxy.flow.seal import Seal


class ShadowsocksSeal(Seal):
    """One session with a server; headers are addresses in the form of ``emit_address``."""

    def __init__(self, keys: Keys) -> None:
        super().__init__()
        self._client: Final = PacketClient(keys)

    def seal(self, header: bytes, payload: bytes | memoryview) -> bytes:
        return self._client.seal(header, payload)

    def open(self, datagram: bytes) -> bytes | None:
        try:
            return self._client.unseal(datagram)
        except ShadowsocksError as error:
            self.why = str(error)
            return None
