"""The text of relay.toml becomes a ``RelayConfig``; what is wrong is told at once, each with its place."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final  # Any as TOML has it

from msgspec import structs

from tunproxy.codecs.dictionary import read_dictionary
from tunproxy.codecs.named import NAMES, CodecSettings
from tunproxy.codecs.shadowsocks_keys import server_keys
from tunproxy.control.config.positions import Path as KeyPath
from tunproxy.control.config.problems import ConfigProblems, did_you_mean
from tunproxy.control.config.read import parse_toml
from tunproxy.control.config.secrets import SecretError, file_of, is_reference, look_up
from tunproxy.control.config.tables import Checker, Document
from tunproxy.control.settings import octets
from tunproxy.errors import ConfigError, OptionError
from tunproxy.relay.addresses import parse_listen
from tunproxy.relay.passwords import PasswordHash
from tunproxy.relay.settings import RelayConfig
from tunproxy.relay.targets import parse_entry
from tunproxy.relay.tls_server import make_context
from tunproxy.rulesets.files import read_up_to
from tunproxy.secret import Secret

MAX_FILE: Final = 16 << 20  # octets: room for 100,000 users
MAX_USER: Final = 255  # octets (RFC 1929 §2)
MAX_WORKERS: Final = 256
MAX_CONNECTIONS: Final = 1_000_000
LEAST_SECONDS: Final = 0.1
MAX_SECONDS: Final = 1_000_000


def read_file(path: str, environment: Mapping[str, str] = os.environ) -> RelayConfig:
    """Return what a file says; raises ConfigError."""
    try:
        data = read_up_to(Path(path).expanduser(), MAX_FILE + 1)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot read {path}: {why}") from error
    if len(data) > MAX_FILE:
        raise ConfigError(f"cannot read {path}: it has more than {MAX_FILE} octets")
    return read_config(data, path, Path(path).expanduser().resolve().parent, environment)


def read_config(data: bytes, name: str, folder: Path, environment: Mapping[str, str]) -> RelayConfig:
    """Return what data, the contents of a file called name in folder, says; raises ConfigProblems."""
    text, tree = parse_toml(data, name)
    reader = _Reader(Document(name, text, _passwords(tree)), folder, environment)
    config = reader.read(tree)
    if reader.problems:
        raise ConfigProblems(reader.problems)
    return config


def check(config: RelayConfig) -> Iterator[tuple[KeyPath, Callable[[], object]]]:
    """Yield the path of each value that may make no sense, and what raises ConfigError where it does."""
    yield ("workers",), partial(_check_number, config.workers, 0, MAX_WORKERS)
    yield ("drain",), partial(_check_number, config.drain, 0, MAX_SECONDS)
    limits = config.limits
    yield ("limits", "connections"), partial(_check_number, limits.connections, 1, MAX_CONNECTIONS)
    for key in ("handshake", "connect", "idle", "half_open", "udp_idle"):
        seconds = partial(_check_number, getattr(limits, key), LEAST_SECONDS, MAX_SECONDS)
        yield ("limits", key.replace("_", "-")), seconds
    places = _places(config)
    for number, (path, text) in enumerate(places):
        yield path, partial(_check_place, text, [text for _, text in places[:number]])
    for key in ("allow", "deny"):
        for number, text in enumerate(getattr(config.targets, key)):
            yield ("targets", key, number), partial(parse_entry, text)
    for number, name in enumerate(config.codecs.offer):
        yield ("codecs", "offer", number), partial(_check_codec, name)
    if config.codecs.dictionary:
        yield ("codecs", "dictionary"), partial(read_dictionary, config.codecs.dictionary)
    codecs = config.codecs
    yield ("codecs",), partial(CodecSettings, codecs.zstd_level, codecs.gzip_level)
    for name, user in config.users.items():
        yield ("users", name), partial(_check_user, name)
        yield ("users", name, "rate"), partial(octets, user.rate)
        most = partial(_check_number, user.connections, 0, MAX_CONNECTIONS)
        yield ("users", name, "connections"), most
        yield ("users", name), partial(_check_password, user.password, user.password_hash)
    if config.tls is not None:
        tls = config.tls
        yield ("tls",), partial(make_context, tls.certificate, tls.key, tls.client_ca)
    shadowsocks = config.shadowsocks
    if shadowsocks is not None:
        users = {name: secret.reveal() for name, secret in shadowsocks.users.items()}
        made = partial(server_keys, shadowsocks.method, shadowsocks.password.reveal(), users)
        yield ("shadowsocks",), made
        yield ("shadowsocks", "rate"), partial(octets, shadowsocks.rate)
        most = partial(_check_number, shadowsocks.connections, 0, MAX_CONNECTIONS)
        yield ("shadowsocks", "connections"), most


class _Reader(Checker):
    """Reads one document."""

    def __init__(self, document: Document, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(document, keeps_good=True, root=RelayConfig)
        self._folder: Final = folder
        self._environment: Final = environment
        self._unusable: Final[set[KeyPath]] = set()  # tables that lack a secret

    def read(self, tree: dict[str, Any]) -> RelayConfig:
        """Return the whole, as far as it is good. No problem with a part of it hides another."""
        self._look_up_secrets(tree)
        config: RelayConfig = self._with_paths(self.make(RelayConfig, tree, ()))
        for path, attempt in check(config):
            if path in self._unusable:
                continue
            try:
                attempt()
            except OptionError as error:
                if not self.follows(error, path):
                    self.complain_of(error, path)
            except ConfigError as error:
                self.complain(path, str(error))
        return config

    def _look_up_secrets(self, tree: dict[str, Any]) -> None:
        """Put secrets in place of what says where they are."""
        tables: list[tuple[KeyPath, Any]] = [(("shadowsocks",), tree.get("shadowsocks"))]
        users, shadowsocks = tree.get("users"), tree.get("shadowsocks")
        if isinstance(users, dict):
            tables += [(("users", name), table) for name, table in users.items()]
        if isinstance(shadowsocks, dict):
            tables.append((("shadowsocks", "users"), shadowsocks.get("users")))
        for path, table in tables:
            for key, value in table.items() if isinstance(table, dict) else ():
                is_secret = key in ("password", "password-hash") or path == ("shadowsocks", "users")
                if is_secret and is_reference(value):
                    try:
                        table[key] = look_up(value, self._folder, self._environment)
                    except SecretError as error:
                        self.complain((*path, key, *value), str(error))
                        table[key] = Secret("")
                        self._unusable.add(("shadowsocks",) if path[0] == "shadowsocks" else path)

    def _with_paths(self, config: RelayConfig) -> RelayConfig:
        """Return config with its paths made absolute."""
        tls = config.tls
        if tls is not None:
            files = {
                key: str(file_of(getattr(tls, key), self._folder))
                for key in ("certificate", "key", "client_ca")
                if getattr(tls, key)
            }
            config = structs.replace(config, tls=structs.replace(tls, **files))
        if config.codecs.dictionary:
            path = str(file_of(config.codecs.dictionary, self._folder))
            config = structs.replace(config, codecs=structs.replace(config.codecs, dictionary=path))
        return config


def _passwords(tree: dict[str, Any]) -> list[str]:
    """Return the passwords that stand under the names of users, which no key gives away.

    In [users] there ought to be tables, but who begins may well write joe = "password" there.
    """
    shadowsocks = tree.get("shadowsocks")
    tables = [tree.get("users"), shadowsocks.get("users") if isinstance(shadowsocks, dict) else None]
    users = [each for table in tables if isinstance(table, dict) for each in table.values()]
    return [each for each in users if isinstance(each, str)]


def _places(config: RelayConfig) -> list[tuple[KeyPath, str]]:
    """Return all places to listen at, as they are written, with their paths."""
    places: list[tuple[KeyPath, str]] = [(("listen", at), text) for at, text in enumerate(config.listen)]
    if config.shadowsocks is not None:
        places += [(("shadowsocks", "listen", at), text) for at, text in enumerate(config.shadowsocks.listen)]
    if config.metrics.listen:
        places.append((("metrics", "listen"), config.metrics.listen))
    return places


def _check_place(text: str, others: list[str]) -> None:
    place = parse_listen(text)
    for other in others:
        try:
            is_same = place.port and parse_listen(other) == place
        except ConfigError:
            continue
        if is_same:
            raise ConfigError(f"cannot listen at {place} twice")


def _check_number(value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{value:g} is not possible ({least:g} to {most:g})")


def _check_codec(name: str) -> None:
    if name not in NAMES:
        raise ConfigError(f"there is no codec {name!r}{did_you_mean(name, NAMES)}")


def _check_user(name: str) -> None:
    if not name or ":" in name or len(name.encode()) > MAX_USER or not name.isprintable():
        raise ConfigError(f"a user has 1 to {MAX_USER} characters, and no colon (RFC 7617 §2)")


def _check_password(password: Secret | None, hashed: Secret | None) -> None:
    if (password is None) == (hashed is None):
        raise OptionError("give one of password and password-hash", "password")
    if hashed is not None:
        try:
            PasswordHash(hashed.reveal())
        except ConfigError as error:
            raise OptionError(str(error), "password_hash") from None
    elif password is not None and not 1 <= len(password.reveal().encode()) <= MAX_USER:
        raise OptionError(f"a password has 1 to {MAX_USER} octets (RFC 1929 §2)", "password")


def check_whole(config: RelayConfig) -> None:
    """Raise ConfigError for the first thing that makes no sense, and where anybody would be served."""
    for path, attempt in check(config):
        try:
            attempt()
        except ConfigError as error:
            option = error.path if isinstance(error, OptionError) else ()
            raise ConfigError(f"{' '.join(map(str, (*path, *option)))}: {error}") from error
    if not config.listen and not (config.shadowsocks and config.shadowsocks.listen):
        raise ConfigError("there is nowhere to listen (listen is empty)")
    if config.users or config.anonymous:
        return
    for text in config.listen:
        if not parse_listen(text).is_loopback:
            raise ConfigError(
                f"{text} would serve anybody who can reach it (add [users.NAME], or say anonymous = true)"
            )
