"""Converting a checkpoint: `qwen3edge convert` beside llama.cpp's convert_hf_to_gguf.py and llama-quantize.

python bench/bench_convert.py --source FOLDER --quant int4 --rounds 3

Interleaved. Seconds are wall time from process start to end (ours includes the fsync before the rename); memory is the
largest resident set of the child, mapped pages of the checkpoint included. The checkpoint is read once before, so that
both find it in the page cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import BenchError, Measured, Report, core, describe_machine, main, positive
from peers import LLAMA_CONVERT, LLAMA_QUANTIZE, llama_convert_command, llama_quantize_command, own_command, run

PEER_KIND = {"int4": "Q4_0", "int8": "Q8_0"}
# relative rms error of a normally distributed matrix: 4 bits 0.08 to 0.1, 8 bits 0.006
TOLERANCE = {"int4": 0.12, "int8": 0.012}
CHECK_TENSORS = {
    "model.layers.0.self_attn.q_proj.weight": "blk.0.attn_q.weight",
    "model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight",
}


def read_tensor(folder: Path, name: str) -> Any:
    """One matrix of a safetensors checkpoint. Written out here, so that the check owes nothing to the converter."""
    for shard in sorted(folder.glob("*.safetensors")):
        with shard.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entry = json.loads(file.read(length)).get(name)
            if entry is None:
                continue
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            data = file.read(end - begin)
        kind, shape = entry["dtype"], entry["shape"]
        if kind == "BF16":
            return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
        return np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[kind]).astype(np.float32).reshape(shape)
    raise BenchError(f"{folder} has no tensor {name}")


def check_file(source: Path, target: Path, quant: str) -> None:
    """Checksums hold and two matrices are near their originals. Runs in a child: the measuring process stays small."""
    file = core().ModelFile(str(target))
    file.verify()
    for theirs, ours in CHECK_TENSORS.items():
        wanted, found = read_tensor(source, theirs), file.dequantize(ours)
        error = float(np.sqrt(np.mean(np.square(found - wanted)) / np.mean(np.square(wanted))))
        if not error <= TOLERANCE[quant]:
            raise BenchError(f"{ours}: relative rms error {error:.4f}, expected at most {TOLERANCE[quant]}")


def check_in_child(source: Path, target: Path, quant: str) -> str | None:
    command = [
        sys.executable,
        __file__,
        "--source",
        str(source),
        "--quant",
        quant,
        "--busy-anyway",
        "--check-only",
        str(target),
    ]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if child.returncode == 0 else (child.stderr.strip().splitlines() or ["the check died"])[-1]


def bench(arguments: argparse.Namespace) -> Report:
    source, quant = arguments.source, arguments.quant
    if arguments.check_only:
        check_file(source, arguments.check_only, quant)
        return Report("checked")
    if not (source / "config.json").is_file():
        raise BenchError(f"{source} has no config.json")
    report = Report(f"Convert {source.name} to {quant}", describe_machine())
    absent = [tool.absent() for tool in (LLAMA_CONVERT, LLAMA_QUANTIZE) if tool.find() is None]

    source_bytes = _warm(source)
    seconds: dict[str, list[float]] = {"ours": [], "convert": [], "quantize": [], "peer": []}
    peak = dict.fromkeys(("ours", "peer"), 0)
    size = dict.fromkeys(("ours", "peer"), 0)
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        own, half, peer = (Path(folder) / name for name in ("own.q3e", "half.gguf", "peer.gguf"))
        for number in range(arguments.rounds):
            done = run(own_command("convert", source, own, "--quant", quant))
            seconds["ours"].append(done.seconds)
            peak["ours"], size["ours"] = max(peak["ours"], done.peak_bytes), own.stat().st_size
            if number == 0:
                wrong = check_in_child(source, own, quant)
                report.accept("file", wrong is None, str(wrong))
            own.unlink()
            if not absent:
                first = run(llama_convert_command(source, half))
                second = run(llama_quantize_command(half, peer, PEER_KIND[quant], arguments.threads))
                size["peer"] = peer.stat().st_size
                half.unlink()
                peer.unlink()
                seconds["convert"].append(first.seconds)
                seconds["quantize"].append(second.seconds)
                seconds["peer"].append(first.seconds + second.seconds)
                peak["peer"] = max(peak["peer"], first.peak_bytes, second.peak_bytes)
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)

    def row(who: str, name: str, ratio: str | None) -> None:
        times = Measured(name, "s", tuple(seconds[who])).text()
        report.add("file", converter=name, seconds=times, ours=ratio, peak_MB=peak[who] / 1e6, file_MB=size[who] / 1e6)

    row("ours", "qwen3edge convert", None)
    if not absent:
        ratio = Measured("llama.cpp", "s", tuple(seconds["peer"])).ratio_to(
            Measured("ours", "s", tuple(seconds["ours"]))
        )
        row("peer", f"llama.cpp convert_hf_to_gguf + llama-quantize {PEER_KIND[quant]}", ratio.text())
        parts = [Measured(name, "s", tuple(seconds[name])).text() for name in ("convert", "quantize")]
        report.notes.append(
            f"of which convert {parts[0]} s and quantize {parts[1]} s; ours: how often ours is done by then, by the "
            "medians"
        )
    rounds = f"medians of {arguments.rounds} interleaved rounds (smallest to largest)"
    report.notes += [f"checkpoint {source_bytes / 1e6:.0f} MB; {rounds}", *absent]
    return report


def _warm(folder: Path) -> int:
    """Reads the weights into the page cache; returns their bytes."""
    total = 0
    for shard in folder.glob("*.safetensors"):
        with shard.open("rb", buffering=0) as file:
            while data := file.read(1 << 22):
                total += len(data)
    return total


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--source", type=Path, required=True, help="a Hugging Face folder, as of scripts/make_random.py"
    )
    options.add_argument("--quant", choices=sorted(PEER_KIND), default="int4")
    options.add_argument("--threads", type=positive, default=2, help="of llama-quantize")
    options.add_argument("--rounds", type=positive, default=3)
    options.add_argument("--work", type=Path, default=None, help="folder for outputs (default: the temporary one)")
    options.add_argument("--check-only", type=Path, default=None, help=argparse.SUPPRESS)
    sys.exit(main(bench, options))
