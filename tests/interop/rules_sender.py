"""Sends flows into mihomo: run as a program of its own, so that it can have a name and a user of its own.

The first line of standard input is the user, every further one a flow as JSON; an empty one asks for the
line "done" when all before it are over. Each flow is a connection (or a datagram) from the address and port
that it says. Nothing is read but the end of each connection: which rule decided is in mihomo's log.
"""

import base64
import ctypes
import json
import os
import resource
import socket
import sys
from collections import deque

AT_ONCE = 100  # connections that are open at the same time
WAIT = 5.0  # seconds for mihomo to end one
PR_SET_DUMPABLE = 4
IP_FREEBIND, IPV6_FREEBIND = 15, 78


def socks_target(flow: dict[str, object]) -> bytes:
    """Return the target as SOCKS 5 has it (RFC 1928 §5)."""
    port = int(str(flow["port"])).to_bytes(2, "big")
    address = str(flow["address"])
    if not address:
        host = str(flow["host"]).encode()
        return bytes([3, len(host)]) + host + port
    if ":" in address:
        return b"\4" + socket.inet_pton(socket.AF_INET6, address) + port
    return b"\1" + socket.inet_pton(socket.AF_INET, address) + port


def literal(flow: dict[str, object]) -> str:
    """Return the target as HTTP has it."""
    address = str(flow["address"])
    return f"{'[' + address + ']' if ':' in address else address or flow['host']}:{flow['port']}"


def opening(flow: dict[str, object]) -> bytes:
    """Return all that a client says before it would send data; nothing waits for an answer."""
    user = str(flow["user"])
    via = flow["via"]
    if via == "socks4":
        host = str(flow["host"]).encode() + b"\0" if flow["host"] else b""
        address = b"\0\0\0\1" if host else socket.inet_aton(str(flow["address"]))
        port = int(str(flow["port"])).to_bytes(2, "big")
        return b"\4\1" + port + address + user.encode() + b"\0" + host
    if via == "socks5":
        name = user.encode()
        login = b"\1" + bytes([len(name)]) + name + b"\1p" if user else b""
        return (b"\5\1\2" + login if user else b"\5\1\0") + b"\5\1\0" + socks_target(flow)
    head = f"Host: {literal(flow)}\r\n"
    if user:
        head += f"Proxy-Authorization: Basic {base64.b64encode(f'{user}:p'.encode()).decode()}\r\n"
    if via == "https":
        return f"CONNECT {literal(flow)} HTTP/1.1\r\n{head}\r\n".encode()
    return f"GET http://{literal(flow)}/ HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()


def finish(stream: socket.socket) -> None:
    try:
        while stream.recv(4096):
            pass
    except OSError:
        pass
    stream.close()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    uid = int(sys.stdin.readline())
    if uid:
        os.setgid(uid)
        os.setuid(uid)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc hides whose our sockets are
    opened: deque[socket.socket] = deque()
    datagrams = []  # stay until mihomo has seen whose they are
    for line in sys.stdin:
        if not line.strip():
            while opened:
                finish(opened.popleft())
            print("done", flush=True)
            continue
        flow = json.loads(line)
        six = ":" in flow["source"]
        kind = socket.SOCK_DGRAM if flow["via"] == "udp" else socket.SOCK_STREAM
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
        made.settimeout(WAIT)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        made.bind((flow["source"], flow["source_port"]))
        made.connect(("::1" if six else "127.0.0.1", flow["listener"]))
        if kind == socket.SOCK_DGRAM:
            made.send(b"\0\0\0" + socks_target(flow) + b"x")
            datagrams.append(made)
            continue
        made.sendall(opening(flow))
        opened.append(made)
        if len(opened) == AT_ONCE:
            finish(opened.popleft())


if __name__ == "__main__":
    main()
