"""Methods and keys: what users write, and what it leads to."""

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from tests.unit.codecs.shadowsocks import NEW, OLD, WITH_USERS, password
from tunproxy.codecs.shadowsocks_keys import (
    METHODS,
    block_decryptor,
    block_encryptor,
    client_keys,
    identity_key,
    identity_of,
    key_from_password,
    method_named,
    server_keys,
)
from tunproxy.errors import ConfigError

# what OpenSSL's EVP_BytesToKey makes of "foobar", as the test of shadowsocks-go has it
FOOBAR = bytes.fromhex("3858f62230ac3c915f300c664312c63f568378529614d22ddb49237d2f60bfdf")


@pytest.mark.parametrize("size", [16, 24, 32])
def test_password_becomes_the_key_that_everybody_has(size: int) -> None:
    assert key_from_password(b"foobar", size) == FOOBAR[:size]


@pytest.mark.parametrize("name", METHODS)
def test_subkeys_depend_on_key_and_salt(name: str) -> None:
    method = method_named(name)
    one, other = bytes(method.key_len), b"\1" * method.key_len
    found = {method.subkey(key, salt) for key in (one, other) for salt in (one, other)}
    assert len(found) == 4
    assert {len(each) for each in found} == {method.key_len}


def test_two_names_are_one_method() -> None:
    assert method_named("chacha20-poly1305") is method_named("chacha20-ietf-poly1305")


@pytest.mark.parametrize("name", ["", "aes-128-cfb", "rc4-md5", "2022-blake3-aes-192-gcm", "AES-128-GCM"])
def test_unknown_method_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no Shadowsocks method .*aes-128-gcm, .*2022-blake3"):
        method_named(name)


@pytest.mark.parametrize("name", OLD)
def test_old_method_takes_any_password_but_none(name: str) -> None:
    assert len(client_keys(name, "ü:x").key) == method_named(name).key_len
    with pytest.raises(ConfigError, match="password is missing"):
        client_keys(name, "")


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("text", ["", "not base64!", "c2hvcnQ=", "AAAA", "A" * 44 + "AAAA", "ü"])
def test_new_method_takes_a_key_of_its_length_and_says_how_to_make_one(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand -base64") as caught:
        client_keys(name, text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("name", WITH_USERS)
def test_several_keys_are_layers_and_the_last_is_the_users(name: str) -> None:
    keys = client_keys(name, ":".join(password(name, number) for number in (1, 2, 3)))
    size = keys.method.key_len
    assert keys.identities == (b"\1" * size, b"\2" * size)
    assert keys.key == b"\3" * size


def test_method_without_identity_headers_takes_one_key() -> None:
    name = "2022-blake3-chacha20-poly1305"
    with pytest.raises(ConfigError, match="2 keys"):
        client_keys(name, f"{password(name)}:{password(name, 2)}")


@pytest.mark.parametrize("name", WITH_USERS)
def test_server_finds_users_by_the_hash_of_their_key(name: str) -> None:
    keys = server_keys(name, password(name), {"joe": password(name, 2), "ann": password(name, 3)})
    size = keys.method.key_len
    assert keys.users[identity_of(b"\2" * size)] == ("joe", b"\2" * size)
    assert keys.users[identity_of(b"\3" * size)] == ("ann", b"\3" * size)


def test_server_refuses_users_that_it_cannot_tell_apart() -> None:
    name = WITH_USERS[0]
    with pytest.raises(ConfigError, match="'ann': 'joe' has the same password"):
        server_keys(name, password(name), {"joe": password(name, 2), "ann": password(name, 2)})
    with pytest.raises(ConfigError, match="user 'joe': a password of"):
        server_keys(name, password(name), {"joe": "secret"})
    with pytest.raises(ConfigError, match="cannot tell users apart"):
        server_keys(OLD[0], "secret", {"joe": "other"})
    with pytest.raises(ConfigError, match="one key"):
        server_keys(name, f"{password(name)}:{password(name, 2)}")


def test_keys_are_not_shown() -> None:
    keys = client_keys("aes-128-gcm", "secret")
    assert keys.key.hex() not in repr(keys)
    assert repr(keys.key) not in repr(keys)
    servers = server_keys(WITH_USERS[0], password(WITH_USERS[0]))
    assert repr(servers.key) not in repr(servers)


def test_blocks_stand_for_themselves() -> None:
    # FIPS 197, appendix C.1
    key, plain = bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")
    sealed = bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a")
    encryptor, decryptor = block_encryptor(key), block_decryptor(key)
    assert [encryptor.update(plain) for _ in range(2)] == [sealed, sealed]
    assert [decryptor.update(sealed) for _ in range(2)] == [plain, plain]
    assert AES.block_size == 128


def test_identity_keys_differ_from_session_keys() -> None:
    method = method_named(WITH_USERS[0])
    key = salt = bytes(16)
    assert identity_key(key, salt, 16) != method.subkey(key, salt)
