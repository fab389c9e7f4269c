"""The table of cases names a test for each."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent.parent / "docs" / "decisions" / "server-cases.md"
ROW = re.compile(r"^\| C(\d+) \| [^|]+ \| `([\w/]+\.py)` \|$", re.MULTILINE)


def cases(path: Path) -> set[int]:
    """Those that a file has tests of: `test_c16_c17_the_thinking_budget` is one of two."""
    names = re.findall(r"^(?:async )?def test_((?:c\d+_)+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {int(number) for name in names for number in re.findall(r"c(\d+)_", name)}


def test_every_case_has_a_test_of_its_name():
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert [int(number) for number, _ in rows] == list(range(1, 41))
    assert [number for number, where in rows if int(number) not in cases(FOLDER / where)] == []
