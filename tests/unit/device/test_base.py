"""The device contract itself."""

import pytest

from tunproxy.device.base import Device
from tunproxy.wire.sink import FrameSink


def test_device_is_a_sink_without_descriptor_by_default() -> None:
    device = Device()
    assert isinstance(device, FrameSink)
    assert device.fd == -1


def test_device_without_implementation_refuses_to_be_used() -> None:
    with pytest.raises(NotImplementedError):
        Device().read()
    with pytest.raises(NotImplementedError):
        Device().write(b"")
