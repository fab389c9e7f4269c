"""Converting a checkpoint: `qwen3edge convert` beside llama.cpp's convert_hf_to_gguf.py and llama-quantize.

    python -m bench.models.convert --source FOLDER --quant int4 --rounds 3

Interleaved. Seconds are wall time from process start to end (ours includes the fsync before the rename); memory is the
largest resident set of the child, mapped pages of the checkpoint included. The checkpoint is read once before, so that
both find it in the page cache.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import peers
from bench.harness import Measured, Report, describe_machine, existing, main, positive
from bench.quiet import BenchError


def bench(arguments: argparse.Namespace) -> Report:
    source, quant = arguments.source, arguments.quant
    if not (source / "config.json").is_file():
        raise BenchError(f"{source} has no config.json")
    report = Report(f"Convert {source.name} to {quant}", describe_machine())
    absent = [tool.absent() for tool in (peers.LLAMA_CONVERT, peers.LLAMA_QUANTIZE) if tool.find() is None]
    source_bytes = sum(peers.read_through(shard) for shard in source.glob("*.safetensors"))
    ours: list[peers.Finished] = []
    theirs: list[tuple[peers.Finished, peers.Finished]] = []  # convert, quantize
    own_bytes = peer_bytes = 0
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        own, half, peer = (Path(folder) / name for name in ("own.q3e", "half.gguf", "peer.gguf"))
        for number in range(arguments.rounds):
            ours.append(peers.run(peers.own_command("convert", source, own, "--quant", quant)))
            own_bytes = own.stat().st_size
            if number == 0:
                peers.run_bench("models.checks", "file", source, own, quant)
                report.accept("file", True, "")
            own.unlink()
            if not absent:
                first = peers.run(peers.llama_convert_command(source, half))
                second = peers.run(peers.llama_quantize_command(half, peer, peers.QUANTIZED[quant], arguments.threads))
                theirs.append((first, second))
                peer_bytes = peer.stat().st_size
                half.unlink()
                peer.unlink()
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)

    seconds = Measured("ours", "s", tuple(done.seconds for done in ours))
    cells = {"converter": "qwen3edge convert", "seconds": seconds.text(), "ours": None}
    report.add("file", **cells, peak_MB=max(done.peak_bytes for done in ours) / 1e6, file_MB=own_bytes / 1e6)
    if theirs:
        both = Measured("llama.cpp", "s", tuple(first.seconds + second.seconds for first, second in theirs))
        peak = max(done.peak_bytes for pair in theirs for done in pair)
        name = f"llama.cpp convert_hf_to_gguf + llama-quantize {peers.QUANTIZED[quant]}"
        cells = {"converter": name, "seconds": both.text(), "ours": both.ratio_to(seconds).text()}
        report.add("file", **cells, peak_MB=peak / 1e6, file_MB=peer_bytes / 1e6)
        parts = [Measured("", "s", tuple(done.seconds for done in part)).text() for part in zip(*theirs, strict=True)]
        report.notes.append(
            f"of which convert {parts[0]} s and quantize {parts[1]} s; ours: how often ours is done by then, by the "
            "medians"
        )
    rounds = f"medians of {arguments.rounds} interleaved rounds (smallest to largest)"
    report.notes += [f"checkpoint {source_bytes / 1e6:.0f} MB; {rounds}", *absent]
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--source", type=existing, required=True, help="a Hugging Face folder, as of make_random.py")
    options.add_argument("--quant", choices=sorted(peers.QUANTIZED), default="int4")
    options.add_argument("--threads", type=positive, default=2, help="of llama-quantize")
    options.add_argument("--rounds", type=positive, default=3)
    options.add_argument("--work", type=Path, default=None, help="folder for outputs (default: the temporary one)")
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
