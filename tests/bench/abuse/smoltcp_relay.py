"""A transparent proxy over smoltcp as mitmproxy uses it (`mitmproxy_rs.tun`): streams become sockets.

    python smoltcp_relay.py DEVICE

Runs under a Python that has mitmproxy_rs. The TCP/IP stack is the library's; the relay only copies octets.
"""

import asyncio
import sys
import types

if "mitmproxy_linux" not in sys.modules:  # a redirector for another mode, which wants its own build
    sys.modules["mitmproxy_linux"] = types.ModuleType("mitmproxy_linux")

import mitmproxy_rs


async def copy_up(stream: "mitmproxy_rs.Stream", writer: asyncio.StreamWriter) -> None:
    while data := await stream.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def copy_down(reader: asyncio.StreamReader, stream: "mitmproxy_rs.Stream") -> None:
    while data := await reader.read(65536):
        stream.write(data)
        await stream.drain()
    stream.write_eof()


async def handle_tcp(stream: "mitmproxy_rs.Stream") -> None:
    target = stream.get_extra_info("sockname")
    writer = None
    try:
        reader, writer = await asyncio.open_connection(*target[:2])
        await asyncio.gather(copy_up(stream, writer), copy_down(reader, stream))
    except OSError:
        if writer is not None:
            writer.transport.abort()
    finally:
        stream.close()
        if writer is not None:
            writer.close()


class Answers(asyncio.DatagramProtocol):
    def __init__(self, stream: "mitmproxy_rs.Stream") -> None:
        self.stream = stream

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.stream.write(data)


async def handle_udp(stream: "mitmproxy_rs.Stream") -> None:
    target = stream.get_extra_info("sockname")
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Answers(stream), remote_addr=target[:2]
    )
    try:
        while data := await stream.read(65536):
            transport.sendto(data)
    finally:
        transport.close()


async def main() -> None:
    interface = await mitmproxy_rs.tun.create_tun_interface(handle_tcp, handle_udp, sys.argv[1])
    await asyncio.Event().wait()
    interface.close()  # never: it lives as long as somebody holds it


asyncio.run(main())
