"""From nothing to the first answer: `qwen3edge serve OWNER/NAME` with an empty cache and a hub on this machine.

    python -m bench.server.first_answer [--checkpoint FOLDER] [--install]

One command fetches the checkpoint, packs it in int4, loads and listens; then a chat is asked for. All times are from
its start on: `listens` is its line that says where, `first token` what a stream brings first, `answer` its end. The hub
is tests/hub/servers.py, so no network but loopback is in them; the bytes are what it sent, and what lies in the cache
then. `--install`: before that, `pip install 'qwen3edge[serve]'` of this checkout into an environment of its own, with
its time and the bytes that it takes; the server is run from there. Default: the shape of Qwen3-0.6B, random weights.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import peers
from bench.harness import Report, describe_machine, existing, main
from bench.report import make_checkpoint
from bench.server.start import BODY, listening, stream_of
from bench.sessions.files import WORK
from tests.hub.servers import Repository, running

NAME = "local/model"


def installed(folder: Path) -> tuple[Path, float]:
    """The Python of a fresh environment that has this checkout's package, and the seconds that pip took."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    begun = time.perf_counter()
    package = f"{peers.ROOT}[serve]"
    subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
    return python, time.perf_counter() - begun


def bytes_in(folder: Path) -> int:
    """Of all its files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def bench(arguments: argparse.Namespace) -> Report:
    checkpoint = arguments.checkpoint or make_checkpoint(WORK)
    report = Report(f"From nothing to the first answer of {checkpoint.name}", describe_machine())
    rows: list[tuple[str, float]] = []
    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as room, running("huggingface") as hub:
        python, home = Path(sys.executable), Path(room)
        if arguments.install:
            python, seconds = installed(home / "environment")
            rows.append(("pip install 'qwen3edge[serve]'", seconds))
            report.notes.append(f"the environment takes {bytes_in(home / 'environment') / 1e6:,.0f} MB")
        files = {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.is_file()}
        hub.repositories[NAME] = Repository(files)
        _ = hub.repositories[NAME].sha  # a hub knows the hashes of its files
        environment = {
            **os.environ, "QWEN3EDGE_CACHE": str(home / "cache"), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip
        command = [python, "-m", "qwen3edge", "serve", NAME, "--port", "0"]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            try:
                host = listening(process)
                rows.append(("listens", time.perf_counter() - begun))
                times = [time.perf_counter() - begun for _ in stream_of(host)]
            finally:
                process.terminate()
        report.accept("serve", len(times) > 1, f"expected an answer in pieces, found {len(times)}")
        rows += [("first token", times[0]), ("answer", times[-1])]
        kept = bytes_in(home / "cache")
        report.notes.append(f"the hub sent {hub.sent / 1e6:,.1f} MB; the cache then holds {kept / 1e6:,.1f} MB")
        report.notes.append(f"the answer: {BODY['max_tokens']} tokens in {len(times)} pieces")
    for what, seconds in rows:
        report.add("serve", what=what, s=seconds)
    return report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--checkpoint", type=existing, metavar="FOLDER", help="config, tokenizer, safetensors")
    options.add_argument("--install", action="store_true", help="from an environment that pip makes")
    return options


if __name__ == "__main__":
    sys.exit(main(bench, parser()))
