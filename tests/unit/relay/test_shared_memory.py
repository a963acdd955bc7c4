"""What one process writes, all see; one at a time has the lock."""

import os
import signal

from tests.unit.relay.children import in_a_child, in_children
from tunproxy.relay.shared_memory import SharedMemory


def test_what_a_child_writes_is_there_and_nothing_before() -> None:
    memory = SharedMemory("test", 5000)
    assert memory.octets[:] == bytes(5000)

    def write() -> bool:
        memory.octets[4999] = 7
        return True

    assert in_a_child(write)
    assert memory.octets[4999] == 7
    memory.close()


def test_those_who_hold_the_lock_do_not_get_into_each_others_way() -> None:
    memory = SharedMemory("test", 8)
    count = memoryview(memory.octets).cast("Q")

    def add(number: int) -> int:
        for _ in range(2000):
            with memory:
                count[0] += 1
        return number

    assert sorted(in_children(4, add)) == [0, 1, 2, 3]
    assert count[0] == 8000
    count.release()
    memory.close()


def test_who_dies_with_the_lock_lets_go_of_it() -> None:
    memory = SharedMemory("test", 8)
    pid = os.fork()
    if pid == 0:
        memory.__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with memory:
        assert memory.octets[:] == bytes(8)
    memory.close()
