"""The device made of two queues."""

from tunproxy.device.memory import MemoryDevice


def test_read_returns_frames_in_order_then_none() -> None:
    device = MemoryDevice()
    device.inbound.extend([b"one", b"two"])
    assert [device.read() for _ in range(3)] == [b"one", b"two", None]


def test_write_and_write_parts_collect_whole_frames() -> None:
    device = MemoryDevice()
    device.write(b"one")
    device.write_parts(b"head", [b"er", memoryview(b"-two-")[1:4]])
    assert list(device.outbound) == [b"one", b"headertwo"]
