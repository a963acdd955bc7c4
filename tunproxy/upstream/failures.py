"""What a failure says: to the client, of the upstream, and of nobody but the target."""

import errno
import socket
import ssl
from typing import Final

from tunproxy.errors import RemoteProtocolError, UpstreamError
from tunproxy.flow.life import failure_text
from tunproxy.flow.verdict import FlowInfo
from tunproxy.upstream.base import REFUSED, SILENT, UNREACHABLE, OpenError, Upstream
from tunproxy.upstream.knowledge import IPV6
from tunproxy.upstream.tls_faults import tls_words

# what connect() reports of the other side, or of ourselves running short, which passes
_TOLD: Final = frozenset(
    {
        errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH,
        errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.ETIMEDOUT,
        errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM,
    }
)  # fmt: skip

_MAY_BE_THE_UPSTREAMS: Final = (
    UpstreamError,
    RemoteProtocolError,  # such as a stream that is not in the codec that was agreed on
    TimeoutError,
    EOFError,
    ssl.SSLError,
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
)


def errno_of(error: BaseException) -> int:
    """Return the errno that tells a client of this failure: refused, where nothing better is known."""
    if isinstance(error, socket.gaierror):  # numbers of its own
        return UNREACHABLE
    if isinstance(error, TimeoutError):
        return SILENT
    if isinstance(error, ssl.SSLError):  # numbers of its own, too
        return REFUSED
    number = getattr(error, "errno", None)
    return number if number in _TOLD else REFUSED


def is_the_upstreams(error: BaseException) -> bool:
    """Tell whether the upstream itself has failed, or may have; else it is the target that did.

    A proxy that says nothing in time, or hangs up, may be one whose target does: a test will tell.
    """
    return isinstance(error, _MAY_BE_THE_UPSTREAMS)


def words_of(error: BaseException) -> str:
    """Return what a failure is, for people."""
    if isinstance(error, ssl.SSLError):
        return tls_words(error)
    return failure_text(error)


def learn_from(upstream: Upstream, error: BaseException, how: str = "seen") -> None:
    """Note what the failure of a flow shows that the upstream cannot do."""
    if isinstance(error, OpenError) and error.lacks:
        upstream.knowledge.learn(error.lacks, False, how)


def learn_from_success(upstream: Upstream, info: FlowInfo) -> None:
    """Note what a flow that was opened shows that the upstream can do."""
    if len(info.target) == 16 and not info.host:
        upstream.knowledge.learn(IPV6, True)
