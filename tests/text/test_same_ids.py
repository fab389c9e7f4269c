"""The ids of 100,000 random texts, and of files, as the tokenizers library makes them of Qwen's vocabularies."""

import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import tokenizers

from qwen3edge.text.tokenizer import Tokenizer
from tests.real_tokenizer import QWEN2_5, QWEN3, QWEN3_5
from tests.text.random_texts import as_text, text, word
from tests.text.test_normal_form import TRAPS as MARKS
from tests.text.test_words import TRAPS

pytestmark = pytest.mark.slow
COUNT = 100_000
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["qwen2.5", "qwen3", "qwen3.5"])
def both(request, tmp_path_factory) -> tuple[Tokenizer, tokenizers.Tokenizer, tuple[str, ...]]:
    """Ours, the library's, and the names of added tokens."""
    real = {"qwen2.5": QWEN2_5, "qwen3": QWEN3, "qwen3.5": QWEN3_5}[request.param]
    return real.ours(tmp_path_factory.mktemp("vocabulary")), real.library(), real.added_texts


def random_text(rng: random.Random, names: tuple[str, ...]) -> str:
    kind = rng.randrange(8)
    if kind < 4:
        return as_text(text(rng))
    if kind == 4:
        return "".join(rng.choices(TRAPS, k=rng.randint(1, 30)))
    if kind == 5:
        return "".join(rng.choices(MARKS, k=rng.randint(1, 30)))
    if kind == 6:
        return "".join(rng.choice([rng.choice(names), word(rng), "<", "<|", ">", "\n"]) for _ in range(8))
    return "".join(chr(code) for code in rng.choices(range(0x110000), k=20) if not 0xD800 <= code < 0xE000)


def test_random_texts(both, seed):
    ours, theirs, names = both
    rng = random.Random(seed)
    different, with_names = [], 0
    for _ in range(COUNT):
        item = random_text(rng, names)
        expected = theirs.encode(item, add_special_tokens=False).ids
        if ours.encode(item, allow_special=True) != expected or ours.decode(expected) != theirs.decode(expected, False):
            different.append(item)
        with_names += any(name in item for name in names)
    assert not different, f"{len(different)} of {COUNT}, the first: {different[0]!r}"
    assert with_names > COUNT // 20


def files() -> Iterator[Path]:
    """Pages and code of this repository and of Python, some of them in other encodings than UTF-8."""
    for folder in (ROOT / "docs", ROOT / "csrc", ROOT / "qwen3edge", ROOT / "tests"):
        yield from (path for path in sorted(folder.rglob("*")) if path.suffix in {".md", ".py", ".cpp", ".h", ".txt"})
    yield from sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    yield Path(sys.executable)


def test_files(both):
    ours, theirs, _ = both
    for path in files():
        data = path.read_bytes()[: 2**21]
        expected = theirs.encode(data.decode("utf-8", "replace"), add_special_tokens=False).ids
        assert ours.encode(data, allow_special=True) == expected, path
