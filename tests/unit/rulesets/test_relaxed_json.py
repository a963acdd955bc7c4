"""JSON with comments."""

import json
import time
from pathlib import Path

import pytest

from tests.unit.rulesets.programs import needs_sing_box, sing_box
from tunproxy.rulesets.relaxed_json import plain_json

RELAXED = b"""// first
{ # second
  "version": 2, /* third
  */ "rules": [{"domain": ["a.com", /* fourth */ "b.com",],}, ], } // last"""


def test_comments_and_needless_commas_become_blanks() -> None:
    plain = plain_json(RELAXED)
    assert json.loads(plain) == {"version": 2, "rules": [{"domain": ["a.com", "b.com"]}]}
    assert len(plain) == len(RELAXED)
    assert [at for at, octet in enumerate(plain) if octet == 10] == [
        at for at, octet in enumerate(RELAXED) if octet == 10
    ]


@needs_sing_box
def test_sing_box_reads_it_too(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_bytes(RELAXED)
    assert "match rules" in sing_box("match", tmp_path / "set.json", "b.com", "-f", "source")


@pytest.mark.parametrize("text", ['"a//b"', '"a#b"', '"/*"', '",]"', r'"\"//"', r'["\\", "#"]'])
def test_strings_stay_as_they_are(text: str) -> None:
    assert plain_json(text.encode()) == text.encode()


@pytest.mark.parametrize("piece", [b'"', b'\\"', b"/*", b"/", b"#", b", ", b',"', b"*/", b"\\"])
def test_time_grows_with_the_length_only(piece: bytes) -> None:
    started = time.process_time()
    assert len(plain_json(piece * 200_000)) == len(piece) * 200_000
    assert time.process_time() - started < 5
