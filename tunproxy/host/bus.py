"""The system's message bus (D-Bus), through dbus-fast: the only file that knows that library.

The library is loaded when a bus is first connected to. Numbers, strings and lists go in and out; neither
messages nor variants leave this file. Nobody is started by being asked: who does not run is not there.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final  # Any as D-Bus has it: a value's type comes with it

from tunproxy.errors import SystemChangeError

DBUS: Final = "org.freedesktop.DBus"
DBUS_PATH: Final = "/org/freedesktop/DBus"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"

# D-Bus Specification, "Well-known Message Bus Instances"
VARIABLE: Final = "DBUS_SYSTEM_BUS_ADDRESS"
SOCKETS: Final = ("/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket")

# our choice: who answers, answers in milliseconds; a daemon that just starts may take a second
ANSWER_SECONDS: Final = 3.0

_WORDS: Final = {
    "AccessDenied": "not permitted",
    "InteractiveAuthorizationRequired": "not permitted (polkit wants to ask somebody)",
    "AuthFailed": "not permitted",
    "NameHasNoOwner": "it does not run",
    "ServiceUnknown": "it does not run",
    "NoReply": "no answer",
}


class BusError(SystemChangeError):
    """The bus, or somebody on it, refuses or does not answer. ``name`` is the error's, without its prefix."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name: Final = name


def has_bus(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether there is a system bus to connect to, as far as can be seen from outside."""
    return bool(environment.get(VARIABLE)) or any(os.path.exists(path) for path in SOCKETS)


class SystemBus:
    """A connection to the system bus, of the running loop; make it with ``connect``."""

    def __init__(self, bus: Any, message_type: Any) -> None:
        self._bus: Final = bus  # dbus_fast.aio.MessageBus
        self._message: Final = message_type  # dbus_fast.Message
        self._listeners: Final[list[tuple[str, Callable[[bool], None]]]] = []
        self._property_listeners: Final[list[tuple[str, frozenset[str], Callable[[], None]]]] = []
        self._signal_listeners: Final[list[tuple[str, str, str, Callable[[list[Any]], None]]]] = []
        bus.add_message_handler(self._on_message)

    @property
    def is_connected(self) -> bool:
        return bool(self._bus.connected)

    async def call(
        self, peer: str, path: str, interface: str, method: str, signature: str = "", *arguments: object
    ) -> list[Any]:
        """Return what a method returns. structs in arguments are lists. Raises BusError."""
        from dbus_fast import MessageFlag, MessageType

        message = self._message(
            destination=peer,
            path=path,
            interface=interface,
            member=method,
            signature=signature,
            body=list(arguments),
            flags=MessageFlag.NO_AUTOSTART,
        )
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reply = await self._bus.call(message)
        except TimeoutError:
            raise BusError(f"{peer}: {method}: no answer in {ANSWER_SECONDS:g} s", "NoReply") from None
        except Exception as error:  # the library has no class for what can happen to a connection
            raise BusError(f"{peer}: {method}: {_in_words(error)}") from error
        if reply is None:
            return []
        if reply.message_type is MessageType.ERROR:
            said = str(reply.body[0]) if reply.body else ""
            name = str(reply.error_name).rpartition(".")[2]
            raise BusError(f"{peer}: {method}: {_WORDS.get(name) or said or name}", name)
        return [_plain(each) for each in reply.body]

    async def properties(self, peer: str, path: str, interface: str) -> dict[str, Any]:
        """Return all properties of an interface of an object. Raises BusError."""
        found = await self.call(peer, path, PROPERTIES, "GetAll", "s", interface)
        return found[0] if found and isinstance(found[0], dict) else {}

    async def has(self, name: str) -> bool:
        """Tell whether somebody has a name on the bus. Raises BusError."""
        return bool((await self.call(DBUS, DBUS_PATH, DBUS, "NameHasOwner", "s", name))[0])

    async def is_here(self, name: str) -> bool:
        """Tell whether who has name does its work in our network namespace; False where nobody has it.

        A bus may be shared between namespaces, as containers do, and a link's number means another link
        there. Raises BusError, also where we may not know.
        """
        if not await self.has(name):
            return False
        [pid] = await self.call(DBUS, DBUS_PATH, DBUS, "GetConnectionUnixProcessID", "s", name)
        try:
            return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/thread-self/ns/net")
        except FileNotFoundError:
            return False  # of another process namespace, or ended just now
        except OSError as error:
            why = f"{_in_words(error)} (needs CAP_SYS_PTRACE)"
            raise BusError(f"cannot tell whether {name} serves this network namespace: {why}") from error

    async def watch(self, name: str, on_change: Callable[[bool], None]) -> None:
        """Have on_change called whenever name gets an owner, or another (True), or loses it (False).

        Raises BusError.
        """
        self._listeners.append((name, on_change))
        rule = f"type='signal',sender='{DBUS}',interface='{DBUS}',member='NameOwnerChanged',arg0='{name}'"
        await self.call(DBUS, DBUS_PATH, DBUS, "AddMatch", "s", rule)

    async def watch_properties(
        self, peer: str, path: str, names: frozenset[str], on_change: Callable[[], None]
    ) -> None:
        """Have on_change called whenever one of these properties of an object changes. Raises BusError."""
        self._property_listeners.append((path, names, on_change))
        rule = (
            f"type='signal',sender='{peer}',path='{path}',interface='{PROPERTIES}',member='PropertiesChanged'"
        )
        await self.call(DBUS, DBUS_PATH, DBUS, "AddMatch", "s", rule)

    async def watch_signal(
        self, peer: str, path: str, interface: str, member: str, on_signal: Callable[[list[Any]], None]
    ) -> None:
        """Have on_signal called with what a signal of an object says, whenever it comes. Raises BusError."""
        self._signal_listeners.append((path, interface, member, on_signal))
        rule = f"type='signal',sender='{peer}',path='{path}',interface='{interface}',member='{member}'"
        await self.call(DBUS, DBUS_PATH, DBUS, "AddMatch", "s", rule)

    def close(self) -> None:
        """Disconnect. May be repeated."""
        with contextlib.suppress(Exception):  # of a connection that is lost already
            self._bus.disconnect()

    def _on_message(self, message: Any) -> None:
        if message.member == "NameOwnerChanged" and message.sender == DBUS:
            name, _, owner = message.body
            for wanted, on_owner in self._listeners:
                if wanted == name:
                    on_owner(bool(owner))
        elif message.member == "PropertiesChanged" and message.interface == PROPERTIES:
            _, changed, invalidated = message.body
            for path, names, on_change in self._property_listeners:
                if path == message.path and not names.isdisjoint((*changed, *invalidated)):
                    on_change()
        for path, interface, member, on_signal in self._signal_listeners:
            if (path, interface, member) == (message.path, message.interface, message.member):
                on_signal([_plain(each) for each in message.body])


async def connect() -> SystemBus:
    """Return a connection to the system bus. Raises BusError."""
    try:
        from dbus_fast import BusType, Message
        from dbus_fast.aio import MessageBus
    except ImportError as error:
        raise BusError(f"cannot use the system bus: {error} (install dbus-fast)") from error
    logging.getLogger("dbus_fast").setLevel(logging.CRITICAL)  # it logs what we translate, with tracebacks
    bus = None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            bus = MessageBus(bus_type=BusType.SYSTEM)
            await bus.connect()
    except Exception as error:  # OSError, TimeoutError, and several of the library's own
        if bus is not None:
            with contextlib.suppress(Exception):
                bus.disconnect()
        raise BusError(f"cannot use the system bus: {_in_words(error)}") from error
    return SystemBus(bus, Message)


def _plain(value: Any) -> Any:
    """Return a value without the variants in it; structs are lists."""
    if type(value).__name__ == "Variant":
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def _in_words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {ANSWER_SECONDS:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).partition("\n")[0] or type(error).__name__
