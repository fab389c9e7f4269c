"""Builds the fuzz targets with clang and runs each: `python -m tests.fuzz.run [seconds]`; what `make fuzz` calls.

Each corpus grows under build/fuzz, of models from the good files of tests/hostile; an input that ends the process is
left beside them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from qwen3edge.templates.syntax_tree import syntax_tree
from tests.hostile.model_image import STRING, array, good_image, moe_image, string, text, u32
from tests.reference.byte_alphabet import BYTE_TO_CHAR
from tests.templates.corpus import SOURCES
from tests.text.random_texts import texts

ROOT = Path(__file__).resolve().parents[2]
I32 = 5
SECONDS = 60
MOST_BYTES = 1 << 16


def build(folder: Path) -> None:
    """The programs, with address and undefined-behaviour sanitizers."""
    names = (os.environ.get("CXX", ""), "clang++", *(f"clang++-{version}" for version in range(22, 15, -1)))
    compiler = next((path for name in names if "clang" in name and (path := shutil.which(name))), None)
    if compiler is None:
        sys.exit("expected clang++ on PATH or in CXX (it brings libFuzzer), found none")
    options = ["-DQWEN3EDGE_SANITIZE=address,undefined,fuzzer-no-link", "-DQWEN3EDGE_SHARED=OFF"]
    cmake = ["cmake", "-S", ROOT / "csrc", "-B", folder, "-G", "Ninja", f"-DCMAKE_CXX_COMPILER={compiler}", *options]
    subprocess.run([*cmake, f"-DCMAKE_C_COMPILER={compiler.replace('clang++', 'clang')}"], check=True)
    subprocess.run(["cmake", "--build", folder, "--target", *TARGETS], check=True)


def write_models(folder: Path) -> None:
    """Good files of both kinds, one of them with a tokenizer that merges."""
    tokens = [*BYTE_TO_CHAR.values(), "ab", "abc", "<|im_end|>"]
    spoken = good_image()
    spoken.set("tokenizer.ggml.tokens", array(STRING, [text(token) for token in tokens]))
    spoken.set("tokenizer.ggml.token_type", array(I32, [u32(1)[1]] * (len(tokens) - 1) + [u32(3)[1]]))
    spoken.set("tokenizer.ggml.merges", array(STRING, [text("a b"), text("ab c")]))
    spoken.set("tokenizer.chat_template", string("{{ messages[0].content }}"))
    for name, image in {"dense": good_image(), "experts": moe_image(), "tokenizer": spoken}.items():
        (folder / name).write_bytes(image.build())


def write_texts(folder: Path) -> None:
    """Of every script, and with the names of the target's tokens."""
    for number, item in enumerate(texts(0, 50)):
        (folder / str(number)).write_bytes(item if isinstance(item, bytes) else item.encode())
    (folder / "names").write_text("a<|im_end|>b<a>[x]word\u0323 <|im_end<a ab\ud558'll")


def write_trees(folder: Path) -> None:
    """Of our chat templates."""
    for name, source in SOURCES.items():
        (folder / name).write_bytes(syntax_tree(source).data or b"")


TARGETS: dict[str, Callable[[Path], None]] = {
    "fuzz_model": write_models,
    "fuzz_template": write_trees,
    "fuzz_tokenizer": write_texts,
}
"""What writes the seeds of each."""


def main(seconds: int) -> int:
    """libFuzzer's exit status: 0 when nothing was found."""
    folder = ROOT / "build" / "fuzz"
    build(folder)
    return max(run(folder, target, seconds) for target in TARGETS)


def run(folder: Path, target: str, seconds: int) -> int:
    """One of them."""
    corpus = folder / f"corpus_{target}"
    corpus.mkdir(parents=True, exist_ok=True)
    TARGETS[target](corpus)
    limits = [f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", "-rss_limit_mb=2048", "-timeout=20"]
    shown = ["-use_value_profile=1", "-print_final_stats=1", f"-artifact_prefix={folder}/"]
    return subprocess.run([folder / target, corpus, *limits, *shown], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
