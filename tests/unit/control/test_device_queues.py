"""How many queues there are, and who chooses among them."""

import os

from tests.isolation import isolated, needs_namespaces
from tunproxy.control.device_queues import BY_PORT, open_for_workers
from tunproxy.control.settings import MOST_BY_THEMSELVES
from tunproxy.device.tun import TunDevice
from tunproxy.host import libc

pytestmark = needs_namespaces


def test_as_many_queues_as_are_asked_for_and_one_where_the_kernel_does_not_choose_as_we_want() -> None:
    def names(found: tuple[list[TunDevice], str]) -> tuple[int, str]:
        for device in found[0]:
            device.close()
        return len(found[0]), found[1]

    def check() -> None:
        assert names(open_for_workers("some0", 1)) == (1, "")
        assert names(open_for_workers("some0", 3)) == (3, BY_PORT)
        os.sched_getaffinity = lambda pid: set(range(16))  # type: ignore[assignment]
        assert names(open_for_workers("some0", 0)) == (MOST_BY_THEMSELVES, BY_PORT)
        libc.capset(effective=1 << 12, permitted=1 << 12)  # CAP_NET_ADMIN
        assert names(open_for_workers("some0", 0)) == (1, "")
        assert names(open_for_workers("some0", 2)) == (2, "by the kernel's own hash (it takes CAP_BPF)")

    isolated(check)
