"""Kinds of upstreams that users may ask for by name, in the configuration or as the scheme of a URL."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from tunproxy.blame import failure, source_of
from tunproxy.errors import ConfigError, OptionError
from tunproxy.secret import Secret
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.option_file import UNREAD, OptionFile, is_file_option, option_file
from tunproxy.upstream.tls_options import TLS, TlsOptions

_LIKE: Final = "it must be like socks5://user:password@host:port"

_STEP: Final = re.compile(r"\.([\w-]+)|\[(\d+)\]")
_SECRET_OPTIONS: Final = ("password", "key_password", "psk")

# what the library calls kinds of values, in words of people who write a configuration
KINDS: Final = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "array": "a list",
    "object": "a table",
    "dict": "a table",
    "list": "a list",
    "Secret": 'a string, { env = "NAME" } or { file = "PATH" }',
    "secret": 'a string, { env = "NAME" } or { file = "PATH" }',
}
_QUOTED: Final = re.compile(r"`([^`]+)`")
_MISSING: Final = re.compile(r"[Oo]bject missing required field `([^`]+)`")

URL_NAME: Final = "upstream"  # what an upstream from the command line is called


@dataclass(frozen=True)
class UpstreamType:
    """A kind of upstream. options is a dataclass: its fields are what users may, or have to, say.

    make gets the upstream's name and an instance of options; it raises ConfigError for what cannot be, as
    OptionError where one of them is to blame.
    is_group says that it is a kind of ``Group``, which no URL can name; has_tag that its URLs may end in #
    and a name for people, which is ignored.
    """

    name: str
    options: type
    make: Callable[[str, Any], Upstream]
    is_group: bool = False
    has_tag: bool = False

    def build(
        self, name: str, table: Mapping[str, object], files: Mapping[str, bytes] | None = None
    ) -> Upstream:
        """Return the upstream that table describes; raises ConfigError naming the field that is wrong.

        files are the contents of those that it names, as far as they have been read.
        """
        fields = {field.name for field in dataclasses.fields(self.options)}
        for key in table:
            if key not in fields:
                known = ", ".join(sorted(fields))
                raise ConfigError(f"upstream {name!r}: {self.name} has no option {key!r} (it has: {known})")
        options = convert_table(f"upstream {name!r}", self.options, table, files)
        try:
            return self.made(name, options)
        except OptionError as error:
            head = f"upstream {name!r}: "
            raise ConfigError(head + str(error).removeprefix(head)) from error

    def made(self, name: str, options: object) -> Upstream:
        """Return what make makes of options; raises ConfigError, also where make is at fault."""
        what = f"{'group' if self.is_group else 'upstream'} {name!r}: the type {self.name!r}"
        try:
            upstream = self.make(name, options)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:  # a plugin's mistake, for its author
            why = failure(error, source_of(self.make))
            raise ConfigError(f"{what} cannot make it: {why}") from error
        if not isinstance(upstream, Upstream):
            raise ConfigError(f"{what} has made {upstream!r}, which is no upstream")
        return upstream


def files_in(url: str) -> list[str]:
    """Return the paths of files that options in a URL name; it may be no good as a URL."""
    try:
        options = parse_qsl(urlsplit(url.strip()).query)
    except ValueError:
        return []
    return [value for key, value in options if is_file_option(key)]


def build_from_url(
    url: str,
    types: Mapping[str, UpstreamType],
    name: str = URL_NAME,
    *,
    files: Mapping[str, bytes] | None = None,
) -> Upstream:
    """Return the upstream that a URL names: ``scheme://user:password@host:port?option=value``.

    The scheme is the upstream's type; what is an option of its ``tls`` may stand among its own.
    files are the contents of those that it names; what is not among them is read. Raises ConfigError, which
    never repeats the password.
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError as error:
        raise ConfigError(
            "cannot use this upstream URL: it is none (an IPv6 address stands in [ ])"
        ) from error
    if not parts.scheme or not parts.netloc:
        raise ConfigError(f"cannot use this upstream URL: {_LIKE}")
    kind = types.get(parts.scheme)
    if kind is None or kind.is_group:
        known = sorted(name for name, other in types.items() if not other.is_group)
        why = f"there is none (there are: {', '.join(known)})"
        raise ConfigError(f"cannot use an upstream of type {parts.scheme!r}: {why}")
    beyond = parts.path.strip("/") + parts.query + ("" if kind.has_tag else parts.fragment)
    if "@" in parts.path or ("@" in beyond and "@" not in parts.netloc):  # the netloc ends in the password
        raise ConfigError("cannot use this upstream URL: / ? # in user or password must be %2F %3F %23")
    try:
        port = parts.port
    except ValueError as error:  # which may repeat a password
        why = "an IPv6 address stands in [ ]" if parts.netloc.count(":") > 2 else "0 to 65535"
        raise ConfigError(f"cannot use this upstream URL: no port behind the host's colon ({why})") from error
    if not parts.hostname:
        raise ConfigError(f"cannot use this upstream URL: it names no host ({_LIKE})")
    if parts.path not in ("", "/") or (parts.fragment and not kind.has_tag):
        raise ConfigError("cannot use this upstream URL: a proxy has no path")
    table: dict[str, object] = {"server": parts.hostname}
    if port is not None:
        table["port"] = port
    for key, text in (("user", parts.username), ("password", parts.password)):
        if text:
            try:
                table[key] = unquote(text, errors="strict")
            except UnicodeDecodeError as error:
                raise ConfigError(f"cannot use this upstream URL: the {key} is not UTF-8") from error
    fields = {field.name: field.type for field in dataclasses.fields(kind.options)}
    tls_fields = {field.name: field.type for field in dataclasses.fields(TlsOptions)} if TLS in fields else {}
    tls: dict[str, object] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        where, options = table, fields
        if key not in fields and key in tls_fields:
            where, options = tls, tls_fields
        if key in where:
            raise ConfigError(f"cannot use this upstream URL: it gives {key} twice")
        where[key] = _from_text(value, options.get(key))
    if tls:
        if not table.setdefault("tls", True):
            raise ConfigError(f"cannot use this upstream URL: {next(iter(tls))} needs TLS (tls=yes)")
        table["tls"] = tls
    return kind.build(name, table, files)


def passwords_in(url: str) -> list[str]:
    """Return the passwords in a URL as they stand there, encoded as they are; it may be no good as a URL.

    What is too much is harmless: this is for hiding them.
    """
    login, at, _ = url.partition("://")[2].rpartition("@")
    found = [login.partition(":")[2]] if at else []
    if at and ":" not in login and url.lstrip().lower().startswith("ss:"):
        found.append(login)  # method and password in base64 (SIP002)
    options = [part.partition("=") for part in re.split("[?&#]", url)[1:]]
    found += [value for key, _, value in options if key in _SECRET_OPTIONS]
    return [password for password in found if password]


def convert_table(
    what: str, schema: type, table: Mapping[str, object], files: Mapping[str, bytes] | None = None
) -> object:
    """Return table as an instance of schema, a dataclass of options; every key is one of its fields.

    what begins the message of the OptionError that is raised where a value is of another type, or missing.
    """
    try:
        converted: object = msgspec.convert(dict(table), schema, dec_hook=partial(_decode, files or {}))
    except msgspec.ValidationError as error:
        raise OptionError(f"{what}: {_worded(error)}", *_path(error)) from error
    return converted


def in_words(message: str) -> str:
    """Return what the library says of a value that it cannot convert, in words of ours."""
    message = _MISSING.sub(r"'\1' is missing", message)
    return _QUOTED.sub(lambda found: _alternatives(found[1]), message)


def _alternatives(kinds: str) -> str:
    return " or ".join(KINDS.get(kind.strip(), kind.strip()) for kind in kinds.split("|"))


def _from_text(value: str, kind: object) -> object:
    """Return value as what a field of this type wants, where it can only be meant so."""
    if kind in (bool, "bool", TlsOptions | bool) and value.lower() in (
        "true",
        "false",
        "1",
        "0",
        "yes",
        "no",
        "",
    ):
        return value.lower() in ("true", "1", "yes", "")
    if kind in (int, "int", int | None, "int | None") and value.removeprefix("-").isdecimal():
        return int(value)
    return value


def _decode(files: Mapping[str, bytes], kind: type, value: object) -> object:
    if kind is OptionFile and isinstance(value, (str, OptionFile)):
        return value if isinstance(value, OptionFile) else option_file(value, files)
    if kind is Secret and isinstance(value, (str, Secret)):
        return value if isinstance(value, Secret) else Secret(value)
    raise TypeError(f"expected `{kind.__name__}`, got `{type(value).__name__}`")


def _path(error: msgspec.ValidationError) -> list[str | int]:
    """Return the way to the value that is wrong, which the library writes like ``$.tls.pin[1]``."""
    parts = _STEP.findall(str(error).partition(" - at `$")[2])
    return [name or int(number) for name, number in parts]


def _worded(error: msgspec.ValidationError) -> str:
    """Return the library's words in the form of ours: where first, then what."""
    words, _, where = str(error).partition(" - at `$.")
    words = in_words(words)
    words = words[:1].lower() + words[1:]
    where = where.rstrip("`")
    if where and words.startswith(UNREAD):
        return f"{UNREAD}{where} {words.removeprefix(UNREAD)}"
    return f"{where}: {words}" if where else words
