"""docs/conformance.md speaks of tests, files and requirements that exist, and of every requirement."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TESTS = ROOT / "tests"
PAGE = (ROOT / "docs" / "conformance.md").read_text()

VERDICTS = {"met", "deviates", "n/a", "not met"}
REQUIRED = [f"MUST-{n}" for n in range(1, 70)] + [f"SHLD-{n}" for n in range(1, 32)] + ["REC-1"]

QUOTED = re.compile(r"`([^`]+)`")
TEST = re.compile(r"(?:(?P<file>[\w/]+\.py)::)?(?P<name>test_\w+)")


def rows() -> list[list[str]]:
    """Return the cells of each row that states a requirement."""
    lines = (line.removeprefix("|").removesuffix("|") for line in PAGE.splitlines() if line.startswith("| "))
    found = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [cells for cells in found if len(cells) >= 3 and any(cell in VERDICTS for cell in cells)]


@cache
def functions_in(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


def named_tests() -> list[tuple[str, str]]:
    """Return (file or "", name) of every test on the page; file is counted from tests/."""
    matches = (TEST.fullmatch(quoted) for quoted in QUOTED.findall(PAGE))
    return sorted({(match["file"] or "", match["name"]) for match in matches if match})


@pytest.mark.parametrize(("file", "name"), named_tests())
def test_named_test_exists(file: str, name: str) -> None:
    paths = [TESTS / file] if file else sorted((TESTS / "unit" / "tcp").glob("test_*.py"))
    assert any(name in functions_in(path) for path in paths), f"no test of this name in {file or 'unit/tcp'}"


def test_every_word_that_begins_like_a_test_is_read_as_one() -> None:
    """A slip of the pen must not make a name look like something else."""
    words = set(re.findall(r"\btest_\w+(?!\w*\.py)", PAGE))
    read = {name for _, name in named_tests()} | {
        Path(word).stem for word in re.findall(r"test_\w+\.py", PAGE)
    }
    assert words <= read
    assert len(named_tests()) > 100


def test_every_requirement_of_appendix_b_has_one_row() -> None:
    ids = [cells[0] for cells in rows() if re.fullmatch(r"(MUST|SHLD|REC)-\d+", cells[0])]
    assert sorted(ids) == sorted(REQUIRED)


@pytest.mark.parametrize("cells", rows(), ids=lambda cells: f"{cells[0]} {cells[1]}")
def test_row_has_a_verdict_and_what_shows_it(cells: list[str]) -> None:
    verdict = cells[2]
    assert verdict in VERDICTS
    is_shown = bool(TEST.search(cells[-1])) and len(cells) == 5
    assert is_shown == (verdict in ("met", "deviates")), "what holds is shown, and nothing else can be"
    if verdict != "met":
        assert cells[3], "and why"


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`((?:tunproxy|tests)/[\w/]+\.py)`", PAGE))))
def test_named_file_exists(file: str) -> None:
    assert (ROOT / file).is_file()
