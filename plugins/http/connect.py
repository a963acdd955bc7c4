"""CONNECT (RFC 9110 §9.3.6, RFC 9112): the client's side, without I/O."""

import base64
import errno
import re
import socket
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from tunproxy.plugin.api import (
    Codec,
    CodecError,
    Conversation,
    FlowInfo,
    OpenError,
    OptionError,
    OptionFile,
    Secret,
    named_codecs,
    zstd_dictionaries,
)

# our choice
MAX_HEAD: Final = 16_384

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")
_END: Final = re.compile(rb"\r?\n\r?\n")
_CHOICE: Final = re.compile(
    rb"(?im)^" + named_codecs.CHOICE_FIELD.encode() + rb":[ \t]*([^\r\n]*?)[ \t]*\r?$"
)


class HttpConversation(Conversation):
    """A request whose head has these lines, and the head of its answer; login is as a field has it, or "".

    final is the interim status that is no interim answer to this request (RFC 9110 §15.2.2).
    """

    def __init__(self, lines: list[str], login: str = "", final: int = 200) -> None:
        super().__init__()
        if login:
            lines = [*lines, f"Proxy-Authorization: {login}"]
        self._request: Final = "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
        self._final: Final = final
        self._heard = b""

    def begin(self) -> bytes:
        return self._request

    def heard(self, data: bytes) -> bytes:
        self._heard += data
        while True:
            if not b"HTTP/1.".startswith(self._heard[:7]):
                raise OpenError(f"the proxy does not speak HTTP: it began with {self._heard[:16]!r}")
            end = _END.search(self._heard)
            if end is None:
                if len(self._heard) > MAX_HEAD:
                    raise OpenError(f"the head of the proxy's answer is longer than {MAX_HEAD} octets")
                return b""
            status = _STATUS_LINE.match(self._heard)
            if status is None:
                raise OpenError(f"the proxy answers with a broken status line: {_first_line(self._heard)!r}")
            code = int(status[1])
            head = self._heard[: end.end()]
            self._heard = self._heard[end.end() :]
            if code >= 200 or code == self._final:
                break  # what is below is an interim answer: the real one follows (RFC 9110 §15.2)
            if not self._heard:
                return b""
        self.on_answer(code, (status[2] or b"").decode("latin-1"), head)
        self.is_over = True
        return b""

    @abstractmethod
    def on_answer(self, code: int, reason: str, head: bytes) -> None:
        """Take the answer's head, and set rest; raises what says that there is no tunnel."""


class ConnectConversation(HttpConversation):
    """Asks for one authority, "host:port"; login is the value of Proxy-Authorization, or "".

    Where there are codecs that we would like, and the proxy chooses one, the stream is in that from then on.
    """

    def __init__(self, authority: str, login: str = "", wishes: "Wishes | None" = None) -> None:
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if wishes is not None:
            lines.append(f"{named_codecs.OFFER_FIELD}: {wishes.offer}")
        super().__init__(lines, login)
        self._wishes: Final = wishes

    def on_answer(self, code: int, reason: str, head: bytes) -> None:
        if not 200 <= code < 300:
            raise failure_of(code, reason)
        # Whatever length the head claims, there is no body: the tunnel begins here (RFC 9110 §9.3.6).
        self.rest = self._heard
        choice = _CHOICE.search(head)
        if choice is not None and choice[1]:
            self._begin_codec(choice[1].decode("latin-1"))

    def _begin_codec(self, choice: str) -> None:
        """Go on in the codec that the proxy has chosen; what it has said in it already is decoded."""
        try:
            if self._wishes is None:
                raise CodecError(f"the answer chose the codec {choice[:60]!r}, and none was offered")
            self.codec = self._wishes.make(choice)
            if self.codec is not None and self.rest:
                self.rest = self.codec.decode(self.rest)
        except CodecError as error:
            raise OpenError(f"the proxy's codec cannot be used: {error}") from error


class Wishes:
    """The codecs that an upstream would like its streams to be in, best first."""

    def __init__(self, wishes: Sequence[named_codecs.Named], settings: named_codecs.CodecSettings) -> None:
        self._wishes: Final = tuple(wishes)
        self._settings: Final = settings
        self.offer: Final = named_codecs.offer(wishes)

    def make(self, choice: str) -> Codec | None:
        """Return a codec for one flow, as the proxy has chosen; raises CodecError."""
        chosen = named_codecs.confirm(self._wishes, choice)
        return None if chosen is None else named_codecs.make(chosen.name, chosen.parameters, self._settings)


def wishes_of(
    name: str,
    codecs: str | Sequence[str],
    dictionary: OptionFile | None,
    *,
    zstd_level: int | None,
    gzip_level: int | None,
    compress_secrets: bool,
) -> Wishes | None:
    """Return what an upstream's options wish for, None where they wish for nothing; raises OptionError."""
    names = [each.strip() for each in codecs.split(",")] if isinstance(codecs, str) else list(codecs)
    for at, each in enumerate(names):
        if each and each not in named_codecs.NAMES:
            known = ", ".join(named_codecs.NAMES)
            why = f"upstream {name!r}: there is no codec {each!r} (there are: {known})"
            raise OptionError(why, "codecs", at)
    names = [each for each in names if each]
    if not names:
        if dictionary:
            raise OptionError(f"upstream {name!r}: a dictionary without codecs", "dictionary")
        for option, level in (("zstd_level", zstd_level), ("gzip_level", gzip_level)):
            if level is not None:
                raise OptionError(f"upstream {name!r}: a level without codecs", option)
        return None
    settings = named_codecs.CodecSettings(
        zstd_level=zstd_level,
        gzip_level=gzip_level,
        dictionary=zstd_dictionaries.Dictionary(dictionary.data, dictionary.path) if dictionary else None,
        compress_secrets=compress_secrets,
    )
    return Wishes(named_codecs.offered_by(settings, names), settings)


def authority_of(info: FlowInfo) -> str:
    """Return the target as it stands in a request: its name where it is known, else its address.

    Raises OpenError for a name that would not be one there.
    """
    host = info.host or socket.inet_ntop(info.family, info.target)
    if not (host.isascii() and host.isprintable() and " " not in host):  # whoever asks DNS makes names up
        raise OpenError(f"cannot ask an HTTP proxy for the name {host!r}")
    return f"[{host}]:{info.target_port}" if ":" in host else f"{host}:{info.target_port}"


def basic_login(name: str, user: str, password: Secret) -> str:
    """Return the value of Proxy-Authorization (RFC 7617), "" without a user; raises OptionError."""
    if not user:
        if password:
            raise OptionError(f"upstream {name!r}: a password without a user", "password")
        return ""
    if ":" in user:
        raise OptionError(f"upstream {name!r}: a user with a colon cannot log in (RFC 7617 §2)", "user")
    token = base64.b64encode(f"{user}:{password.reveal()}".encode()).decode()
    return f"Basic {token}"


def failure_of(code: int, reason: str) -> OSError | OpenError:
    """Return what an answer that grants no tunnel means."""
    said = f"the proxy says: {code} {reason}".rstrip()
    if code == 504:
        return OSError(errno.ETIMEDOUT, said)
    if code in (500, 502, 503):  # most proxies answer so for whatever the target did
        return OSError(errno.ECONNREFUSED, said)
    if code == 407:
        return OpenError("the proxy wants another user or password (407)")
    return OpenError(said)


def _first_line(data: bytes) -> bytes:
    return data[:80].split(b"\n", 1)[0]
