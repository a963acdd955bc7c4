"""What addresses mean that the user has mapped."""

import socket

import pytest

from tunproxy.control.worker_settings import AddressMap, targets_of
from tunproxy.errors import ConfigError


def test_address_means_another_on_every_port_or_one() -> None:
    targets = targets_of((AddressMap("10.0.2.2", 0, "127.0.0.1", 0), AddressMap("fd00::2", 80, "::1", 8080)))
    four, six = socket.inet_pton(socket.AF_INET, "10.0.2.2"), socket.inet_pton(socket.AF_INET6, "fd00::2")
    assert targets.resolve(four, 4000) == ("127.0.0.1", 4000)
    assert targets.resolve(six, 80) == ("::1", 8080)
    assert targets.resolve(six, 81) == ("fd00::2", 81)


def test_what_is_no_address_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^cannot map 'nonsense': not an IP address$"):
        targets_of((AddressMap("nonsense", 0, "127.0.0.1", 0),))
