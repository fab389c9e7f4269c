"""Ratios of README and docs/decisions/ are those of the figures beside them; README shows figures that were printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUMBER = r"\d+(?:\.\d+)?"
HIGHER, SMALLER, FASTER = ", tok/s", ", MB", (", ms", ", s")  # what a row of README's counts


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose first line begins with `head`, below its rule."""
    lines = page[page.index("\n" + head) + 1 :].splitlines()
    table = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table[:1] + table[2:]]


def matches(shown: str, ratio: float) -> bool:
    """Whether it is the ratio, rounded to as many digits as are shown."""
    return f"{ratio:.{len(shown.partition('.')[2])}f}" == shown


def figures(cell: str) -> list[float]:
    """ "1335 / 107 (93 %)" has two."""
    found = [re.match(NUMBER, part.strip()) for part in cell.split("/")]
    return [float(number[0]) for number in found if number]


README = (ROOT / "README.md").read_text(encoding="utf-8")
DECISIONS = ROOT / "docs" / "decisions"
BENCH = (DECISIONS / "targets.md").read_text(encoding="utf-8")  # tables of one run of `make bench`
NAMES, *MEASURED = rows(README, "| | qwen3edge |")


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row[0])
def test_a_ratio_of_the_readme(row: list[str]) -> None:
    what, own, *others, shown = row
    peers = {name: figures(cell) for name, cell in zip(NAMES[2:-1], others, strict=True) if cell}
    parts = re.split(r" / |, ", shown)
    places = [0] * len(parts) if len(figures(own)) == 1 else list(range(len(figures(own))))
    assert peers and len(parts) == len(places)
    for part, place in zip(parts, places, strict=True):
        ours, ratio = figures(own)[place], re.match(rf"({NUMBER}) x ?(.*)", part)
        assert ratio, part
        against = ratio[2].removesuffix("the best")
        rivals = [peers[against][place]] if against else [values[place] for values in peers.values()]
        if HIGHER in what:
            expected = ours / max(rivals)
        elif SMALLER in what:
            expected = ours / min(rivals)
        else:
            assert what.endswith(FASTER)
            expected = min(rivals) / ours
        assert matches(ratio[1], expected), (part, expected)


def measured(cell: str) -> set[str]:
    """The figures of a cell as they are written; "1551 / 931 tok/s" has two, and "2,643" is 2643."""
    return set(re.findall(rf"(?<![\d.]){NUMBER}(?![\d.])", re.sub(r"(?<=\d),(?=\d{3})", "", cell)))


@pytest.fixture(scope="module")
def printed() -> list[float]:
    """Every figure in a table that a bench printed."""
    pages = [DECISIONS / f"{name}.md" for name in ("targets", "experts", "streaming")]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    return [float(figure) for line in lines if line.startswith("|") for figure in measured(line)]


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row[0])
def test_a_figure_of_the_readme_is_of_a_run(row: list[str], printed: list[float]) -> None:
    figures = {figure for cell in row[1:-1] for figure in measured(re.sub(r"\(.*?\)", "", cell))}
    assert figures
    assert not {figure for figure in figures if not any(matches(figure, each) for each in printed)}


def test_a_figure_of_no_run_is_seen(printed: list[float]) -> None:
    assert measured("2,643 / 107 (93 %)") == {"2643", "107", "93"}
    assert 1551 in printed and not any(matches("1552", each) for each in printed)


def test_the_readme_shows_what_users_reach() -> None:
    """Several sequences in one step are the engine's: sessions take turns."""
    assert not [row for row in MEASURED if "sequences" in row[0]]


def test_the_claims_of_the_bench_page() -> None:
    claims = [row for row in rows(BENCH, "| row | target |")[1:] if re.search(r"\) x", row[2])]
    details = {cell.split(" ")[0] for row in rows(BENCH, "| scene | engine |")[1:] for cell in row[2:]}
    assert len(claims) > 5
    for row, target, measured, verdict, note in claims:
        mine, other = re.match(rf"({NUMBER}) / ({NUMBER}) (?:tok/s|MB)", note).groups()  # type: ignore[union-attr]
        shown = measured.split(" ")[0]
        assert matches(shown, float(mine) / float(other)), (row, target, measured, note)
        assert "file no larger" in target or {mine, other} <= details, (row, note)
        bound = re.search(rf"([<>])= ({NUMBER}) (x|%)", target)
        if bound and bound[3] == "x":
            ratio = float(mine) / float(other)
            met = ratio >= float(bound[2]) if bound[1] == ">" else ratio <= float(bound[2])
            assert verdict == ("met" if met else "not met"), (row, target, verdict)


@pytest.mark.parametrize(("head", "value"), [("| scene | engine |", -2), ("| converter | seconds |", 1)])
def test_how_often_ours_is_done_by_then(head: str, value: int) -> None:
    """The peer's time over ours, in the last line of each of the two tables that has both."""
    names, *table = rows(BENCH, head)
    place = names.index("ours")
    ours = next(row for row in table if "qwen3edge" in row[names.index("what") if "what" in names else 0])
    theirs = [row for row in table if row[place] != "-"]
    assert len(theirs) == 1
    shown = theirs[0][place].split(" ")[0]
    assert matches(shown, float(theirs[0][value].split(" ")[0]) / float(ours[value].split(" ")[0]))


def test_a_wrong_ratio_is_seen() -> None:
    assert matches("2.2", 72.5 / 33.1) and not matches("2.4", 72.5 / 33.1)
    assert figures("1335 / 107 (93 %)") == [1335, 107] and figures("162 (first token at 149)") == [162]
