"""The document: what workers tell, added up."""

import asyncio
from typing import Any

from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.control.status import Instance, StatusReport, add
from tunproxy.wire.reasons import NAMES


class Worker(Questions):
    """Answers without a process."""

    def __init__(self, answer: dict[str, Any] | str) -> None:
        self._said = answer

    async def ask(self, what: str) -> dict[str, Any]:
        assert what == "status"
        if isinstance(self._said, str):
            raise NoAnswerError(self._said)
        return self._said


def document(*answers: dict[str, Any] | str) -> dict[str, Any]:
    report = StatusReport(Instance("up", "tun0", "tun0"), [Worker(answer) for answer in answers])
    return asyncio.run(report.document())


def test_document_adds_up_what_workers_tell() -> None:
    found = document(
        {"flows": {"tcp": 2}, "drops": {"no-flow": 1}, "worker": {"pid": 7}, "plugins": ["direct"]},
        {"flows": {"tcp": 3, "udp": 1}, "drops": {"no-flow": 4}, "worker": {"pid": 8}, "plugins": ["direct"]},
    )
    assert found["flows"] == {"tcp": 5, "udp": 1}
    assert found["drops"]["no-flow"] == 5
    assert found["workers"] == [{"number": 0, "pid": 7}, {"number": 1, "pid": 8}]
    assert (found["plugins"], found["problems"]) == (["direct"], [])
    assert (found["mode"], found["name"], found["tun"], found["command"]) == ("up", "tun0", "tun0", "")


def test_document_has_every_reason_and_none_besides() -> None:
    found = document({"drops": {"made-up": 3}})
    assert list(found["drops"]) == list(NAMES[1:])
    assert not any(found["drops"].values())


def test_document_without_its_worker_says_so() -> None:
    found = document("the worker does not answer within 2 s")
    assert found["problems"] == ["the worker does not answer within 2 s"]
    assert (found["workers"], found["flows"]) == ([{"number": 0}], {})


def test_document_problems_are_sentences() -> None:
    found = document(
        {
            "drops": {"echo-forbidden": 1, "table-full": 35},
            "plugin_problems": {"odd": "cannot be imported: ImportError: x"},
            "plugin_faults": {"picky": 2},
            "upstream_faults": {"far": 1},
            "worker": {"descriptors": 950, "descriptor_limit": 1000},
        }
    )
    assert found["problems"] == [
        "plugin odd cannot be imported: ImportError: x",
        "plugin picky failed 2 times",
        "upstream far was faulty once, see the log",
        "pings are not sent: the worker's group is outside of net.ipv4.ping_group_range",
        "there was no room for new flows: 35 packets were dropped (raise the limit of open files: ulimit -n)",
        "950 of 1000 descriptors are used (raise the limit: ulimit -n)",
    ]


def test_document_believes_no_worker_that_talks_nonsense() -> None:
    found = document(
        {
            "flows": "many",
            "traffic": {"bytes_in": "x", "frames_in": True, "bytes_out": 4},
            "plugins": 3,
            "worker": [],
        }
    )
    assert (found["flows"], found["traffic"], found["plugins"]) == ({}, {"bytes_out": 4}, [])


def test_add_keeps_names_that_not_all_have() -> None:
    assert add([{"a": 1}, {"b": 2, "a": 3}, {}]) == {"a": 4, "b": 2}
    assert add([]) == {}


class Part:
    """Another part of the supervisor."""

    def __init__(self, name: str, problem: str = "") -> None:
        self._name = name
        self._problem = problem

    def document(self) -> dict[str, object]:
        return {self._name: {"is_there": True}}

    def problems(self) -> list[str]:
        return [self._problem] if self._problem else []


def test_document_has_what_other_parts_tell() -> None:
    parts = [Part("names", "names leak"), Part("lane")]
    report = StatusReport(Instance("up", "tun0", "tun0"), [Worker("it is gone")], parts=parts)
    found = asyncio.run(report.document())
    assert found["names"] == found["lane"] == {"is_there": True}
    assert found["problems"] == ["it is gone", "names leak"]


def test_rules_that_only_count_are_added_up() -> None:
    one = {"rule": "MATCH,A,observe", "place": "x:1", "flows": 2, "octets": 10}
    other = {"rule": "MATCH,B,observe", "place": "x:2", "flows": 0, "octets": 0}
    found = document({"observed": [one, other]}, {"observed": [{**one, "flows": 5}, "nonsense"]}, {})
    assert found["observed"][:2] == [{**one, "flows": 7, "octets": 20}, other]
    assert document({})["observed"] == []
