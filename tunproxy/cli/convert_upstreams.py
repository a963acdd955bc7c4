"""Tables of upstreams for what other programs call their proxies, and what became of each."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tunproxy.errors import ConfigError

if TYPE_CHECKING:
    from tunproxy.rulesets.convert.report import Conversion, Outcome, Outlet

TYPES: Final = {
    "socks4": "socks4", "socks4a": "socks4a", "socks5": "socks5", "http": "http", "https": "https",
    "ss": "shadowsocks",
}  # fmt: skip
PASSWORDS: Final = ("socks5", "http", "https", "ss")  # what has one
ELSEWHERE: Final = '# password = { env = "NAME" } or { file = "PATH" }: fill in'


@dataclass(frozen=True)
class Table:
    """The lines of a table, and what became of the proxy: why is "" where nothing is different."""

    lines: list[str]
    result: str
    why: str = ""


def tables(result: "Conversion", *, with_passwords: bool) -> "tuple[dict[str, list[str]], list[Outcome]]":
    """Return the lines for each proxy of a conversion, by name, and the account of all of them."""
    from tunproxy.rules.model import Position
    from tunproxy.rulesets.convert.report import Outcome

    found, account = {}, []
    for outlet in result.outlets:
        if not outlet.kind.startswith("group"):
            table = table_of(outlet, with_passwords=with_passwords)
            found[outlet.name] = table.lines
            where = Position(result.name, outlet.line, 1)
            account.append(Outcome(table.result, f"upstream {comment(outlet.name)}", where, (), table.why))
    return found, account


def table_of(outlet: "Outlet", *, with_passwords: bool = False) -> Table:
    """Return the table of an upstream; one that we cannot speak to becomes a SOCKS proxy of this host."""
    from tunproxy.rulesets.convert.report import APPROXIMATED, DROPPED, EXACT

    if "," in outlet.name:
        why = "no rule can have a comma in its target"
        return Table([f"# upstream {comment(outlet.name)} is left out: {why}"], DROPPED, why)
    kind = outlet.kind.removeprefix("proxy").strip()
    lines = [f"[upstreams.{quoted(outlet.name)}]"]
    obstacle = _obstacle(kind, outlet)
    if obstacle:
        lines += [
            f"# it was {obstacle}: run a program that does, and name its SOCKS port",
            *('type = "socks5"', 'server = "127.0.0.1"', "port = 1080"),
        ]
        return Table(lines, DROPPED, f"it is {obstacle}")
    left_out = list(outlet.left_out)
    lines.append(f"type = {quoted(TYPES[kind])}")
    if outlet.server and outlet.port:
        lines += [f"server = {quoted(outlet.server)}", f"port = {outlet.port}"]
        lines += [f"user = {quoted(outlet.user)}"] if outlet.user else []
        lines += _password(kind, outlet, left_out, with_passwords=with_passwords)
    else:
        lines.append('# server = "", port = 0: fill in')
        left_out.append("server or port is missing")
    lines += [f"{key} = {written(value)}" for key, value in outlet.options.items()]
    return Table(lines, APPROXIMATED if left_out else EXACT, "; ".join(left_out))


def _obstacle(kind: str, outlet: "Outlet") -> str:
    """Return what it is that we cannot speak to, "" where we can."""
    from tunproxy.codecs.shadowsocks_keys import METHODS

    if kind not in TYPES:
        return f"{comment(kind)}, which tunproxy does not speak" if kind else "nothing that is said"
    method = outlet.options.get("method", "")
    if kind == "ss" and method not in (*METHODS, "chacha20-poly1305"):
        what = f"the method {comment(str(method))!r}" if method else "no method"
        return f"ss with {what}, which tunproxy does not speak"
    if outlet.obstacle:
        return f"{kind} with {comment(outlet.obstacle)}, which tunproxy does not speak"
    return ""


def _password(kind: str, outlet: "Outlet", left_out: list[str], *, with_passwords: bool) -> list[str]:
    """Return the line of the password; without with_passwords it stays where it is."""
    from tunproxy.codecs.shadowsocks_keys import client_keys

    if not outlet.password:
        if kind == "ss":
            left_out.append("its password is missing")
        return [ELSEWHERE] if kind in PASSWORDS and (outlet.user or kind == "ss") else []
    if kind == "ss":
        try:
            client_keys(str(outlet.options["method"]), outlet.password)
        except ConfigError as error:
            left_out.append(str(error))
            return [ELSEWHERE]
    if not with_passwords:
        left_out.append("its password stays where it is (--passwords writes it)")
        return [ELSEWHERE]
    return [f"password = {quoted(outlet.password)}"]


def written(value: object) -> str:
    """Return a value as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {written(each)}' for key, each in value.items())} }}"
    return quoted(str(value))


def quoted(text: str) -> str:
    """Return text as TOML's basic string; its escapes are those of JSON, and DEL has to be one."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def comment(text: str) -> str:
    """Return text as it may stand in a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
