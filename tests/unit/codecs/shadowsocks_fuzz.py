"""Octets that no Shadowsocks program sends: good ones spoiled, and bad ones sealed with the right key.

The second kind is what gets behind the check of the cipher, to the code that reads what is in the clear.
"""

import random

from tests.unit.codecs.shadowsocks import ADDRESS, NOW, Clock, counted, keys_for
from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_chunks import Sealer
from tunproxy.codecs.shadowsocks_keys import (
    Keys,
    ServerKeys,
    ShadowsocksError,
    block_encryptor,
    identity_key,
    identity_of,
)
from tunproxy.codecs.shadowsocks_packet import PacketClient
from tunproxy.codecs.shadowsocks_packet_server import PacketServer
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_server import ShadowsocksServer
from tunproxy.codecs.shadowsocks_stream import ShadowsocksClient, ShadowsocksStream
from tunproxy.codecs.xchacha import XChaCha20Poly1305

_RARE = (0, 1, 2, 3, 4, 0x3F, 0x40, 0x7F, 0x80, 0xFF)
_KEYS: dict[tuple[str, int], tuple[Keys, ServerKeys]] = {}
_ADDRESSES = (ADDRESS, emit_address(bytes(16), 53), emit_address(b"", 80, "www.example.org"))
_STAMP = int(NOW).to_bytes(8, "big")


def spoiled(chance: random.Random, words: bytes) -> bytes:
    """Return words with a few things wrong."""
    found = bytearray(words)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at = chance.randrange(min(len(found), 60) if chance.random() < 0.5 else len(found)) if found else 0
        what = chance.randrange(6)
        if what == 0 and found:
            found[at] ^= 1 << chance.randrange(8)
        elif what == 1 and found:
            found[at] = chance.choice(_RARE)
        elif what == 2:
            del found[at : at + chance.choice((1, 2, 16, 40))]
        elif what == 3:
            found[at:at] = chance.randbytes(chance.choice((1, 2, 16, 40)))
        elif what == 4:
            del found[at:]
        else:
            found += found[at:]
    return bytes(found)


def play_stream(chance: random.Random, method: str, users: int = 0) -> str:
    """Have one end of a stream read something bad; return what it says. Raises for what it must not do."""
    keys, servers = _keys(method, users)
    clock = Clock()
    is_server = chance.random() < 0.5
    client = ShadowsocksClient(keys, chance.choice(_ADDRESSES), None, clock, counted(7))
    server = ShadowsocksServer(servers, SaltMemory(keys.method.is_2022), clock, counted(900))
    sent = client.encode(b"x" * chance.choice((1, 30))) if chance.random() < 0.8 else client.flush()
    reader: ShadowsocksStream = server
    if not is_server:
        server.decode(sent)
        sent = server.encode(b"y" * chance.choice((1, 30))) + server.encode(b"z")
        reader = client
    if chance.random() < 0.5:
        return fed(reader, spoiled(chance, sent), chance)
    return fed(reader, sealed_stream(chance, keys, is_server), chance)


def sealed_stream(chance: random.Random, keys: Keys, is_server: bool) -> bytes:
    """Return a stream that holds nonsense under the right key."""
    method = keys.method
    salt = chance.randbytes(method.key_len)
    sealer = Sealer(method, method.subkey(keys.key, salt))
    out: list[bytes | memoryview] = [salt]
    layers = (*keys.identities, keys.key)
    if is_server:
        for at in range(len(layers) - 1):
            key = identity_key(layers[at], salt, method.key_len)
            out.append(block_encryptor(key).update(identity_of(layers[at + 1])))
    address = chance.choice(_ADDRESSES)
    if method.is_2022:
        head = (
            address + chance.choice((b"\0\0", b"\0\1", b"\3\x84")) + chance.randbytes(chance.choice((0, 9)))
        )
        head = spoiled(chance, head) if is_server else b"payload"
        request_salt = b"" if is_server else (7).to_bytes(method.key_len, "big")
        fixed = bytes((0 if is_server else 1,)) + _STAMP + request_salt + len(head).to_bytes(2, "big")
        out += [sealer.seal(spoiled(chance, fixed) if chance.random() < 0.3 else fixed), sealer.seal(head)]
    elif is_server:
        sealer.seal_chunks(spoiled(chance, address), 0, out)
    for _ in range(chance.randrange(4)):
        piece = chance.randbytes(chance.choice((0, 1, 20)))
        length = len(piece).to_bytes(2, "big")
        out += [sealer.seal(spoiled(chance, length) if chance.random() < 0.3 else length), sealer.seal(piece)]
    return b"".join(out)


def fed(reader: ShadowsocksStream, words: bytes, chance: random.Random) -> str:
    """Have reader decode words, cut anywhere; return what it says of them."""
    size = chance.choice((1 << 16, 1 << 16, 40, 7))
    total = 0
    try:
        for at in range(0, len(words), size):
            total += len(reader.decode(words[at : at + size]))
        assert total <= len(words)
        reader.decode_end()
    except ShadowsocksError as error:
        return str(error) or "nothing said"
    return ""


def play_packet(chance: random.Random, method: str, users: int = 0) -> str:
    """Have one end of datagrams read something bad, as ``play_stream`` does."""
    keys, servers = _keys(method, users)
    clock = Clock()
    client = PacketClient(keys, clock, counted(7))
    server = PacketServer(servers, clock, counted(900))
    address = chance.choice(_ADDRESSES)
    sent = client.seal(address, b"hello")
    is_server = chance.random() < 0.5
    bad = spoiled(chance, sent) if chance.random() < 0.5 else sealed_packet(chance, keys, client, is_server)
    try:
        if is_server:
            server.open(bad)
            return ""
        if bad[:4] == sent[:4]:
            bad = spoiled(chance, server.seal(server.open(sent)[0], address, b"world"))
        client.open(bad)
    except ShadowsocksError as error:
        return str(error) or "nothing said"
    return ""


def sealed_packet(chance: random.Random, keys: Keys, client: PacketClient, is_server: bool) -> bytes:
    """Return a datagram that holds nonsense under the right key."""
    method = keys.method
    address = chance.choice(_ADDRESSES)
    if not method.is_2022:
        salt = chance.randbytes(method.key_len)
        body = spoiled(chance, address + b"hello")
        return salt + method.aead(method.subkey(keys.key, salt)).encrypt(bytes(12), body, None)
    session = chance.randbytes(8)
    head = session + chance.choice((0, 1, 1 << 63)).to_bytes(8, "big")
    theirs = b"" if is_server else client.session
    padding = chance.choice((b"\0\0", b"\0\3abc", b"\xff\xff"))
    body = spoiled(chance, bytes((0 if is_server else 1,)) + _STAMP + theirs + padding + address + b"hello")
    if not method.is_aes:
        nonce = chance.randbytes(24)
        return nonce + XChaCha20Poly1305(keys.key).encrypt(nonce, head + body, None)
    sealed = method.aead(method.subkey(keys.key, session)).encrypt(head[4:], body, None)
    if not is_server:
        return block_encryptor(keys.key).update(head) + sealed
    layers = (*keys.identities, keys.key)
    out = [block_encryptor(layers[0]).update(head)]
    for at in range(len(layers) - 1):
        mixed = bytes(one ^ other for one, other in zip(identity_of(layers[at + 1]), head, strict=True))
        out.append(block_encryptor(layers[at]).update(mixed))
    return b"".join((*out, sealed))


def _keys(method: str, users: int) -> tuple[Keys, ServerKeys]:
    found = _KEYS.get((method, users))
    if found is None:
        found = _KEYS[method, users] = keys_for(method, users)
    return found
