"""How fast texts become ids, on one core: ours beside the tokenizers library and tiktoken, with Qwen3's vocabulary.

    python -m bench.text.tokenizer
    python -m bench.text.tokenizer --text novel.txt --text 小说.txt

Without --text: English (the reference pages in Python's pydoc), code (Python's own library) and Chinese, which is put
together from the vocabulary's Chinese tokens, the first ones often, as words of a language are. A text is read in
documents of some 4 KB, whose ids are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import random
import sys
import sysconfig
import tempfile
import time
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from pydoc_data import topics

from bench.harness import Report, describe_machine, existing, interleave, main, positive
from bench.quiet import BenchError
from tests.fetch_tokenizer import RANKS
from tests.real_tokenizer import QWEN3

DOCUMENT = 4096  # characters
LARGEST = 2_000_000  # characters of a text
CHINESE = 600_000  # characters

Encode = Callable[[str], list[int]]


def english() -> str:
    return "\n\n".join(topics.topics.values())


def code() -> str:
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)


def chinese() -> str:
    """Zipf's law, from one seed."""
    decoded = (token.decode("utf-8", "ignore") for token in QWEN3.ranks)
    words = [word for word in decoded if word and all("\u4e00" <= char <= "\u9fff" for char in word)]
    rng, weights = random.Random(0), [1 / (rank + 10) for rank in range(len(words))]
    parts: list[str] = []
    while sum(map(len, parts)) < DOCUMENT:
        parts += [*rng.choices(words, weights, k=rng.randint(2, 9)), rng.choice("，，，。！？\n")]
    return "".join("".join(rng.sample(parts, len(parts))) for _ in range(CHINESE // DOCUMENT))


def encoders() -> dict[str, Encode]:
    """By the names of the columns; tiktoken makes no normal form and is given it."""
    with tempfile.TemporaryDirectory() as folder:
        ours = QWEN3.ours(Path(folder))
    library, encoding = QWEN3.library(), QWEN3.tiktoken()
    return {
        "qwen3edge": ours.encode,
        "tokenizers": lambda text: library.encode(text, add_special_tokens=False).ids,
        "tiktoken": encoding.encode_ordinary,
    }


def run(arguments: argparse.Namespace) -> Report:
    """A row for each text."""
    if not RANKS.exists():
        raise BenchError("Qwen3's vocabulary is not there: run `python tests/fetch_tokenizer.py`")
    report = Report("Texts to ids on one core, Qwen3's vocabulary", describe_machine())
    texts = {path.name: path.read_text(encoding="utf-8") for path in arguments.text}
    by_name = encoders()
    for name, text in (texts or {"English": english(), "code": code(), "Chinese": chinese()}).items():
        time_text(report, name, text[: arguments.most], by_name, arguments.rounds)
    return report


def time_text(report: Report, name: str, text: str, by_name: Mapping[str, Encode], rounds: int) -> None:
    text = unicodedata.normalize("NFC", text)
    documents = [text[at : at + DOCUMENT] for at in range(0, len(text), DOCUMENT)]
    nbytes, ours = len(text.encode()), by_name["qwen3edge"]
    wanted = [ours(document) for document in documents]
    for peer in ("tokenizers", "tiktoken"):
        found = [by_name[peer](document) for document in documents]
        wrong = sum(ids != other for ids, other in zip(wanted, found, strict=True))
        report.accept(name, not wrong, f"{peer} has other ids for {wrong} of {len(documents)} documents")

    def rate(encode: Encode) -> float:
        started = time.perf_counter()
        for document in documents:
            encode(document)
        return nbytes / 1e6 / (time.perf_counter() - started)

    rates = interleave({peer: lambda encode=encode: rate(encode) for peer, encode in by_name.items()}, rounds, "MB/s")
    cells = {f"{peer}_MB_s": measured.text() for peer, measured in rates.items()}
    report.add(name, text=name, MB=nbytes / 1e6, bytes_a_token=nbytes / sum(map(len, wanted)), **cells)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("bench.text.tokenizer", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    made.add_argument("--text", type=existing, action="append", default=[], help="a file of UTF-8; may be repeated")
    made.add_argument("--rounds", type=positive, default=5, help="of one sample of each in turn")
    made.add_argument("--most", type=positive, default=LARGEST, help="characters of a text")
    return made


if __name__ == "__main__":
    sys.exit(main(run, parser()))
