"""The errors that tunproxy raises for its callers' mistakes and for what the host refuses.

A bad packet is never an exception: it is a value that its receiver counts and drops. Exceptions of
other libraries are translated at the edge of the package that met them, with ``raise ... from``.

A message has no full stop and reads ``what failed: why (what to do)``, for example
``cannot open /dev/net/tun: permission denied (needs CAP_NET_ADMIN)``. The command line prints it as
one line and exits with ``exit_code``.
"""

import errno as errors
from typing import ClassVar


class TunproxyError(Exception):
    """Tell the user in one line what failed, why, and what to do."""

    exit_code: ClassVar[int] = 2


class ConfigError(TunproxyError):
    """An option or a setting cannot be used as it was given."""


class OptionError(ConfigError):
    """What one option says cannot be used. The message tells by itself which.

    path leads to it, for whoever knows where it stands in a file: the name of its field, those of tables
    that it is in before that (``"tls", "pin"``), the number of an entry behind it (``"members", 2``).
    """

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


class SystemChangeError(TunproxyError):
    """The host refused a change, or lacks what the change needs."""


class UpstreamError(TunproxyError):
    """An upstream could not be reached, or refused to serve the flow."""


class ConversationError(UpstreamError):
    """A proxy does not keep to the conversation: it hangs up, says nothing, or never comes to the point.

    errno decides what the client is told.
    """

    def __init__(self, message: str, errno: int = errors.ECONNREFUSED) -> None:
        super().__init__(message)
        self.errno = errno


class RemoteProtocolError(TunproxyError):
    """The other side broke a protocol."""
