"""asyncio's selector, with the packet path served inside it."""

import selectors
from collections.abc import Mapping
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Any  # as the interface we implement is typed

from tunproxy.loop.dataplane import Dataplane


class PacketSelector(selectors.BaseSelector):
    """A selector for ``asyncio.SelectorEventLoop`` whose select() runs the packet path while it waits."""

    def __init__(self, dataplane: Dataplane) -> None:
        self._dataplane = dataplane
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch fileobj; raises KeyError when it is watched already."""
        key = selectors.SelectorKey(fileobj, _fileno(fileobj), events, data)
        if key.fd in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        self._dataplane.register_foreign(key.fd, _mask(events))
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Stop watching fileobj; raises KeyError when it is not watched."""
        key = self._keys.pop(self._known_fd(fileobj))
        self._dataplane.unregister_foreign(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Change what is watched of fileobj; raises KeyError when it is not watched."""
        fd = self._known_fd(fileobj)
        if self._keys[fd].events != events:
            self._dataplane.modify_foreign(fd, _mask(events))
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve the packet path until a registered file is ready or timeout seconds have passed."""
        wait = -1 if timeout is None else max(int(timeout * 1e6), 0)
        ready = []
        for fd, mask in self._dataplane.poll(wait):
            key = self._keys.get(fd)
            if key is not None:
                events = 0
                if mask & (EPOLLIN | EPOLLERR | EPOLLHUP):
                    events |= selectors.EVENT_READ
                if mask & (EPOLLOUT | EPOLLERR | EPOLLHUP):
                    events |= selectors.EVENT_WRITE
                ready.append((key, events & key.events))
        return ready

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return what is registered, by descriptor."""
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the key of fileobj; raises KeyError when it is not watched."""
        return self._keys[self._known_fd(fileobj)]

    def close(self) -> None:
        """Forget everything; the dataplane is closed by its owner."""
        self._keys.clear()

    def _known_fd(self, fileobj: Any) -> int:
        """Return the descriptor of fileobj, also of one that was closed while it was registered."""
        try:
            return _fileno(fileobj)
        except ValueError:
            for key in self._keys.values():
                if key.fileobj is fileobj:
                    return key.fd
            raise KeyError(f"{fileobj!r} is not registered") from None


def _fileno(fileobj: Any) -> int:
    fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    if fd < 0:
        raise ValueError(f"invalid file descriptor {fd}")
    return fd


def _mask(events: int) -> int:
    mask = EPOLLIN if events & selectors.EVENT_READ else 0
    return mask | (EPOLLOUT if events & selectors.EVENT_WRITE else 0)
