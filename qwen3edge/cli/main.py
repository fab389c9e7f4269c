"""The command `qwen3edge`: its arguments, its exit statuses, and how errors are told.

Exit status: 0 done, 1 a file or the machine does not allow it, 2 the arguments are wrong, 130 interrupted. SIGTERM and
SIGHUP end it as they end any program (143 and 129 in a shell), once what it was writing is removed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from types import ModuleType
from typing import NoReturn

from qwen3edge import __version__
from qwen3edge.cli.process import open_standard_streams, unwound_by_signals
from qwen3edge.errors import Qwen3EdgeError, RequestError
from qwen3edge.extras import named_extra

VERBS = {
    "convert": "turn a Hugging Face checkpoint or a GGUF file into one .q3e file",
    "export": "turn a .q3e file into a GGUF file, or a folder for vLLM, SGLang and transformers",
    "run": "answer one prompt",
    "chat": "talk with a model",
    "info": "show what a .q3e file holds, and check it",
    "plan": "show what a model will take of the memory",
    "bench": "measure prefill and decode",
    "aot": "compile the GPU kernels of a model's shapes, for apps that launch them without Python",
    "calibrate": "measure what a model's matrices meet in text, for better quantization",
    "eval": "measure perplexity, divergence from a reference, and answers to items",
}


class _Parser(argparse.ArgumentParser):
    """Tells a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"qwen3edge: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status. Never raises for what a user can cause."""
    open_standard_streams()
    status = 1
    with unwound_by_signals():
        status = _run(arguments)
    return status


def _run(arguments: Sequence[str] | None) -> int:
    try:
        _prepare_streams()
        chosen, rest = parser().parse_known_args(arguments)
        if chosen.verb == "run":  # argparse leaves what comes after options to us
            words = [word for word in rest if word == "-" or " " in word or not word.startswith("-")]
            chosen.prompt, rest = [*chosen.prompt, *words], [word for word in rest if word not in words]
        if rest:
            chosen.parser.error(f"unrecognized arguments: {' '.join(rest)}")
        status: int = _verb(chosen.verb).run(chosen)
        sys.stdout.flush()
        return status
    except SystemExit as error:  # argparse
        return error.code if isinstance(error.code, int) else 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output left
        _drop_output()
        return 141
    except RequestError as error:
        return _fail(str(error), 2)
    except Qwen3EdgeError as error:
        return _fail(str(error), 1)
    except MemoryError:
        return _fail("the memory of this machine is used up", 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        return _fail(f"{where}{error.strerror or error}", 1)


def _drop_output() -> None:
    """What waits in the buffer of standard output: the interpreter would try again at exit, and tell of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _verb(name: str) -> ModuleType:
    try:
        return import_module(f"qwen3edge.cli.{name}")
    except ModuleNotFoundError as error:
        raise named_extra(name, error) from None


def _prepare_streams() -> None:
    """What an encoding does not have is written and read as a replacement."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def parser() -> argparse.ArgumentParser:
    """All arguments of all verbs."""
    root = _Parser(prog="qwen3edge", description="A quantized edge runtime for Qwen3.")
    root.add_argument("--version", action="version", version=f"qwen3edge {__version__}")
    verbs = root.add_subparsers(dest="verb", metavar="VERB", required=True)
    made = {
        name: verbs.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        for name, help in VERBS.items()
    }
    for verb in made.values():
        verb.set_defaults(parser=verb)

    convert = made["convert"]
    convert.add_argument(
        "source", metavar="SRC", help="folder with config.json, safetensors and tokenizer.json, or a GGUF file"
    )
    convert.add_argument("target", metavar="OUT.q3e")
    convert.add_argument(
        "--quant",
        help="int4 (default; for a quantized GGUF file what holds its weights), int6, int8, bf16, f32, or a block "
        "format of docs/format.md",
    )
    convert.add_argument(
        "--lora",
        metavar="DIR",
        action="append",
        help="an adapter (PEFT or mlx-lm) to merge into the weights before quantizing; several are merged in order",
    )
    convert.add_argument(
        "--recipe", metavar="FILE", help="JSON (docs/quality.md), or a .q3e file to do as was done for it"
    )
    convert.add_argument(
        "--imatrix", "--calibration", metavar="FILE", help="statistics of calibrate, or llama.cpp's importance matrix"
    )
    convert.add_argument(
        "--quantizer",
        choices=["search", "weighted", "gptq"],
        help="search (default), weighted (with --imatrix), or gptq: takes longer, needs calibrate --gram",
    )
    convert.add_argument(
        "--target-bits", type=float, metavar="BITS", help="a weight: formats by measured sensitivity instead of --quant"
    )
    convert.add_argument(
        "--no-tokenizer", action="store_true", help="convert a checkpoint that has none, for token ids alone"
    )
    convert.add_argument(
        "--chat-template", metavar="FILE", help="a Jinja2 template to pack in place of the checkpoint's own"
    )
    convert.add_argument("--threads", type=int, help="default: all that the process may use")
    convert.add_argument("--quiet", action="store_true", help="no progress bar")

    export = made["export"]
    export.add_argument("model", metavar="MODEL", help="a .q3e file")
    export.add_argument("target", metavar="OUT", help="a file, or with --to compressed-tensors a new folder")
    export.add_argument("--to", default="gguf", choices=["gguf", "compressed-tensors"], help="gguf (default)")
    export.add_argument(
        "--type",
        action="append",
        metavar="FORMAT=TYPE",
        help="what a block format becomes (docs/gguf.md), such as q4z32=Q8_0",
    )
    export.add_argument("--threads", type=int, help="default: all that the process may use")
    export.add_argument("--quiet", action="store_true", help="no progress bar")

    aot = made["aot"]
    aot.add_argument("--target", required=True, help="sm_80, sm_87, sm_89, sm_90, gfx942 or gfx1100")
    aot.add_argument("--model", required=True, metavar="SHAPE", help="0.6B, 1.7B, 4B, 8B or 30B-A3B")
    aot.add_argument("--out", required=True, metavar="DIR", help="a folder for the code, manifest.json and a C header")
    for name in ("run", "chat", "info", "plan", "bench"):
        made[name].add_argument("model", metavar="MODEL", help="a .q3e file")
    run = made["run"]
    run.add_argument("prompt", nargs="*", help="several are joined by empty lines; - is standard input (default)")
    run.add_argument("--file", "-f", metavar="FILE", help="a text that follows the prompt")
    run.add_argument("--raw", action="store_true", help="continue the prompt as it is: no chat template, no messages")
    for name in ("run", "chat"):
        _add_sampling(made[name])
    made["info"].add_argument("--verify", action="store_true", help="read all weights and check them")
    made["info"].add_argument("--tensors", action="store_true", help="list the tensors")
    bench = made["bench"]
    bench.add_argument("--prompt", type=int, default=512, metavar="N", help="tokens to prefill (512)")
    bench.add_argument("--generate", type=int, default=64, metavar="N", help="tokens to decode (64)")
    bench.add_argument("--repeat", type=int, default=3, metavar="N", help="the median of so many runs counts (3)")
    for name in ("run", "chat", "plan", "bench"):
        _add_loading(made[name])
    made["plan"].add_argument(
        "--no-texts", dest="texts", action="store_false", help="for a program that passes token ids alone"
    )
    for name in ("run", "chat", "plan", "bench"):
        made[name].add_argument("--device", default="cpu", help="cpu (default), or cuda or cuda:N for a GPU")
    _add_eval(made["eval"])
    _add_calibrate(made["calibrate"])
    for name in ("convert", "export", "run", "info", "plan", "bench", "aot", "calibrate", "eval"):
        made[name].add_argument("--json", action="store_true", help="for programs")
    return root


def _add_calibrate(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("model", metavar="MODEL", help="a .q3e file, best in bf16 or f32")
    verb.add_argument("--out", metavar="FILE.npz", required=True, help="what convert --imatrix takes")
    verb.add_argument(
        "--text",
        metavar="FILE",
        help="a text, or .jsonl with `text` or `messages` (default: what the model writes itself)",
    )
    verb.add_argument("--window", type=int, default=512, metavar="N", help="tokens that are read together (512)")
    verb.add_argument("--limit", type=int, metavar="N", help="read so many tokens")
    verb.add_argument("--gram", action="store_true", help="X^T X as well, for convert --quantizer gptq")
    verb.add_argument(
        "--gram-experts",
        action="store_true",
        help="--gram, and of each expert: experts x columns x columns x 4 bytes a layer",
    )
    verb.add_argument("--gram-memory", default="2GiB", metavar="SIZE", help="of X^T X at a time (2GiB)")
    verb.add_argument(
        "--sensitivity",
        action="store_true",
        help="the divergence by each matrix, for convert --target-bits (f32, bf16)",
    )
    verb.add_argument("--sensitivity-tokens", type=int, default=2048, metavar="N", help="to measure it on (2048)")
    verb.add_argument("--imatrix", metavar="FILE.dat", help="write llama.cpp's importance matrix, too")
    verb.add_argument("--resume", metavar="FOLDER", help="a folder to keep what was done in, and to go on from")
    verb.add_argument("--threads", type=int, metavar="N", help="default: all that the process may use")
    verb.add_argument("--quiet", action="store_true", help="no progress line")


def _add_eval(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("model", metavar="MODEL", nargs="+", help="a .q3e file")
    verb.add_argument("--text", metavar="FILE", help="to predict: a text, or .jsonl with `text` or `messages`")
    verb.add_argument("--reference", metavar="MODEL", help="the .q3e file to compare with, such as one in bf16")
    verb.add_argument("--tasks", metavar="FILE", help=".jsonl of items: `messages` with `expected`, or with `choices`")
    verb.add_argument("--answers", action="store_true", help="with --tasks --json: the answers, too")
    verb.add_argument("--window", type=int, default=512, metavar="N", help="tokens that are predicted together (512)")
    verb.add_argument("--stride", type=int, metavar="N", help="tokens that each further window predicts (all but one)")
    verb.add_argument("--limit", type=int, metavar="N", help="so many tokens of --text, about, and items of --tasks")
    verb.add_argument("--resume", metavar="STATE", help="a file to keep what was done in, and to go on from")
    verb.add_argument(
        "--by-layer",
        action="store_true",
        help="the divergence that the weights of each layer cause (slow: twice a layer)",
    )
    verb.add_argument("--plot", metavar="OUT.png", help="draw bits a weight against divergence, and that by layer")
    verb.add_argument("--quiet", action="store_true", help="no progress line")
    group = verb.add_argument_group("memory and threads")
    group.add_argument("--memory", metavar="SIZE", help="budget of each model such as 600MiB")
    group.add_argument("--threads", type=int, metavar="N", help="default: all that the process may use")
    group.add_argument(
        "--kv",
        default="int8",
        choices=["int8", "int4", "bf16", "f32"],
        help="type of the KV cache (int8)",
    )


def _add_loading(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("memory and threads")
    group.add_argument(
        "--memory", metavar="SIZE", help="budget such as 600MiB or 2G, or auto (the default): what the system leaves"
    )
    group.add_argument("--context", type=int, metavar="N", help="tokens that a conversation can hold (4096)")
    group.add_argument("--threads", type=int, metavar="N", help="default: all that the process may use")
    group.add_argument(
        "--kv",
        default="int8",
        choices=["int8", "int4", "bf16", "f16", "f32"],
        help="type of the KV cache (int8); f16 on a GPU alone",
    )
    group.add_argument(
        "--min-expert-share",
        type=float,
        default=0.0,
        metavar="X",
        help="of a mixture, lossy: a token leaves out experts of a smaller share of its weights (0: none)",
    )


def _add_sampling(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("the answer", "`qwen3edge info` shows the defaults that a model file holds.")
    mode = group.add_mutually_exclusive_group()
    mode.add_argument("--thinking", action="store_true", default=None, help="reason before answering")
    mode.add_argument("--no-thinking", dest="thinking", action="store_false", help="answer directly")
    group.add_argument("--system", metavar="TEXT", help="system prompt")
    group.add_argument("--chat-template", metavar="FILE", help="a Jinja2 template in place of the model's own")
    group.add_argument("--max-tokens", type=int, metavar="N", help="default: until the context is full")
    group.add_argument(
        "--stop", action="append", metavar="TEXT", help="end the answer before this text; may be repeated"
    )
    group.add_argument("--seed", type=int, metavar="N", help="for the same answer again")
    for name, kind, usual in (
        ("temperature", float, "0: greedy; 0.6 thinking, 0.7 direct"),
        ("top-k", int, "20"),
        ("top-p", float, "0.95 thinking, 0.8 direct"),
        ("min-p", float, "0"),
        ("presence-penalty", float, "0"),
        ("repetition-penalty", float, "1; Qwen2.5: 1.05 or 1.1"),
    ):
        group.add_argument(f"--{name}", type=kind, metavar="X", help=f"default: the model's own ({usual})")


def _fail(message: str, status: int) -> int:
    lines = message.strip().splitlines() or ["failed"]
    print(f"qwen3edge: {lines[0]}", *lines[1:], sep="\n", file=sys.stderr)
    return status
