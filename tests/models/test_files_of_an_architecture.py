"""What of the tree knows Qwen3.5, the second architecture: no more files than docs/architectures.md promises."""

import re
from pathlib import Path

from qwen3edge.architectures import qwen3, qwen3_5
from qwen3edge.config import keys_of

ROOT = Path(__file__).resolve().parents[2]
OF_KNOWN_BLOCKS = {
    "csrc/models/qwen3_5",
    "csrc/models/architectures",
    "csrc/models/config",
    "qwen3edge/architectures/qwen3_5",
}
OF_NEW_BLOCKS = {"qwen3edge/config"}
OF_WORDS = {
    "csrc/text/word_splitter",
    "qwen3edge/tokenization",
    "qwen3edge/convert/vocabulary",
    "qwen3edge/convert/gguf_text",
}
BLOCKS = ("csrc/models", "qwen3edge/runtime/torch_backend/blocks")
KERNELS = ("csrc/ukernels/", "csrc/probes/", "csrc/bindings/")  # with their bindings: CONTRIBUTING.md counts them


def of_all(architectures, attribute) -> set[str]:
    return {name for each in architectures for name in getattr(each, attribute)}


KINDS = of_all(qwen3_5.ARCHITECTURES, "blocks") - of_all(qwen3.ARCHITECTURES, "blocks")
NUMBERS = {n for a in qwen3_5.ARCHITECTURES for n in keys_of(a)} - {n for a in qwen3.ARCHITECTURES for n in keys_of(a)}
CLASSES = {"".join(word.title() for word in kind.split("_")) for kind in KINDS}
NAMES = re.compile(rf"\b(?:{'|'.join(sorted(KINDS | CLASSES | NUMBERS))})\b|qwen3_5|qwen35|Qwen3_5")


def test_files_that_know_qwen3_5():
    """A header and its source count as one."""
    assert {"DeltaNet", "GatedAttention", "SharedExperts"} == CLASSES and "delta_value_heads" in NUMBERS
    knowing = set()
    for folder in ("csrc", "qwen3edge"):
        for path in (ROOT / folder).rglob("*"):
            name = str(path.relative_to(ROOT))
            if path.suffix in (".h", ".cpp", ".py") and not name.startswith(KERNELS) and NAMES.search(path.read_text()):
                knowing.add(name.removesuffix(path.suffix))
    own = {f"{folder}/{kind}" for folder in BLOCKS for kind in KINDS}
    assert knowing - own == OF_KNOWN_BLOCKS | OF_NEW_BLOCKS | OF_WORDS


def test_the_page_names_them():
    page = (ROOT / "docs" / "architectures.md").read_text()
    named = {f.replace("qwen3_5", "<name>") for f in OF_KNOWN_BLOCKS} | OF_NEW_BLOCKS | OF_WORDS
    assert not [name for name in named if not re.search(rf"`{re.escape(name)}\.\w+`", page)]
