"""SOCKS upstreams: versions 4, 4a and 5, with names left to the proxy where it can resolve them."""

from dataclasses import dataclass

from tunproxy.plugin.api import (
    OptionError,
    Secret,
    TlsOptions,
    Upstream,
    UpstreamType,
    hookimpl,
    tls_client,
)

from .upstream import Socks4Upstream, Socks5Upstream


@dataclass(frozen=True, kw_only=True)
class Socks4Options:
    """A SOCKS 4 or 4a proxy; user is what identd would say."""

    server: str
    port: int = 1080
    user: str = ""
    tls: TlsOptions | bool = False


@dataclass(frozen=True, kw_only=True)
class Socks5Options:
    """A SOCKS 5 proxy (RFC 1928). pipeline saves a round trip with proxies that allow for it.

    Inside TLS it carries no UDP: the datagrams themselves would go in the clear.
    """

    server: str
    port: int = 1080
    user: str = ""
    password: Secret = Secret("")  # noqa: RUF009  # a Secret never changes
    pipeline: bool = False
    udp: bool = True
    tls: TlsOptions | bool = False


@hookimpl
def contribute_upstream_types() -> list[UpstreamType]:
    """Contribute ``socks4``, ``socks4a``, ``socks5``; ``socks5h`` is what curl calls the last."""
    return [
        UpstreamType("socks4", Socks4Options, _socks4),
        UpstreamType("socks4a", Socks4Options, _socks4a),
        UpstreamType("socks5", Socks5Options, _socks5),
        UpstreamType("socks5h", Socks5Options, _socks5),
    ]


def _user4(name: str, options: Socks4Options) -> str:
    if "\0" in options.user:
        raise OptionError(f"upstream {name!r}: SOCKS 4 has no octet 0 in a user", "user")
    return options.user


def _socks4(name: str, options: Socks4Options) -> Upstream:
    return _version4(name, options, has_names=False)


def _socks4a(name: str, options: Socks4Options) -> Upstream:
    return _version4(name, options, has_names=True)


def _version4(name: str, options: Socks4Options, *, has_names: bool) -> Upstream:
    user, tls = _user4(name, options), tls_client(options.tls)
    return Socks4Upstream(name, options.server, options.port, user, has_names=has_names, tls=tls)


def _socks5(name: str, options: Socks5Options) -> Upstream:
    password = options.password.reveal()
    for what, text in (("user", options.user), ("password", password)):
        if len(text.encode()) > 255:
            why = f"upstream {name!r}: the {what} is longer than 255 octets (RFC 1929 §2)"
            raise OptionError(why, what)
    if password and not options.user:
        raise OptionError(f"upstream {name!r}: a password without a user", "password")
    return Socks5Upstream(
        name,
        options.server,
        options.port,
        (options.user, password),
        does_pipeline=options.pipeline,
        has_udp=options.udp and options.tls is False,
        tls=tls_client(options.tls),
    )
