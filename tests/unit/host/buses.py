"""A system bus of a test's own, and peers on it, who answer as they are told."""

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from tunproxy.host.bus import SystemBus, connect

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path={folder}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
Answer = tuple[str, list[Any]]  # a signature, and values


@contextmanager
def system_bus(folder: Path) -> Iterator[str]:
    """Run dbus-daemon; yield its address."""
    (folder / "bus.conf").write_text(CONFIG.format(folder=folder))
    with subprocess.Popen(
        ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--nopidfile", "--print-address"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as daemon:  # fmt: skip
        try:
            assert daemon.stdout is not None
            yield daemon.stdout.readline().strip()
        finally:
            daemon.terminate()


class PeerError(Exception):
    """What a peer answers with: the error's name, and its text."""


class Peer:
    """Somebody on the bus. answers are functions of what was asked, by method; properties by path."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[..., Answer]] = {}
        self.properties: dict[str, dict[str, Variant]] = {}
        self.asked: list[tuple[Any, ...]] = []  # method and arguments, but for GetAll
        self._bus: Any = None

    async def appear(self, address: str, name: str) -> None:
        """Be on the bus as name."""
        self._bus = await MessageBus(bus_address=address).connect()
        self._bus.add_message_handler(self._on_message)
        await self._bus.request_name(name)

    def vanish(self) -> None:
        self._bus.disconnect()

    async def tell_changed(self, path: str, interface: str, name: str) -> None:
        """Send PropertiesChanged."""
        message = Message.new_signal(
            path, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", [interface, {}, [name]]
        )
        await self._bus.send(message)

    async def signal(self, path: str, interface: str, member: str, signature: str, *body: object) -> None:
        """Send a signal."""
        await self._bus.send(Message.new_signal(path, interface, member, signature, list(body)))

    def _on_message(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.member == "GetAll":
            if message.path not in self.properties:
                return Message.new_error(
                    message, "org.freedesktop.DBus.Error.UnknownObject", "no such object"
                )
            return Message.new_method_return(message, "a{sv}", [self.properties[message.path]])
        self.asked.append((message.member, *_listed(message.body)))
        answer = self.answers.get(str(message.member))
        if answer is None:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", "no such method")
        try:
            signature, body = answer(*message.body)
        except PeerError as error:
            return Message.new_error(message, *error.args)
        return Message.new_method_return(message, signature, body)


@asynccontextmanager
async def connected() -> AsyncIterator[SystemBus]:
    bus = await connect()
    try:
        yield bus
    finally:
        bus.close()


def _listed(value: Any) -> Any:
    """Return value with structs as lists, however the library has them."""
    return [_listed(each) for each in value] if isinstance(value, (list, tuple)) else value
