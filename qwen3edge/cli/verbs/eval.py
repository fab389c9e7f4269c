"""`qwen3edge eval MODEL... [--text FILE] [--reference MODEL] [--by-layer] [--tasks ITEMS.jsonl]`."""

from __future__ import annotations

import argparse
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_result
from qwen3edge.cli.status import StatusLine
from qwen3edge.errors import RequestError
from qwen3edge.settings import KV_TYPES

if TYPE_CHECKING:
    from qwen3edge import _core
    from qwen3edge.evaluate.by_layer import LayerLoss
    from qwen3edge.evaluate.scores import Scores
    from qwen3edge.evaluate.tasks import TaskResult
    from qwen3edge.evaluate.texts import Window
    from qwen3edge.generation.model import Model

HELP = "measure perplexity, divergence from a reference, and answers to items"
_SAVE_SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Models, what to measure them on, how to load them."""
    options.add_model(parser, nargs="+")
    parser.add_argument("--text", metavar="FILE", help="to predict: a text, or .jsonl with `text` or `messages`")
    parser.add_argument("--reference", metavar="MODEL", help="the .q3e file to compare with, such as one in bf16")
    parser.add_argument(
        "--tasks", metavar="FILE", help=".jsonl of items: `messages` with `expected`, or with `choices`"
    )
    parser.add_argument("--answers", action="store_true", help="with --tasks --json: the answers, too")
    parser.add_argument("--window", type=int, default=512, metavar="N", help="tokens that are predicted together (512)")
    parser.add_argument(
        "--stride", type=int, metavar="N", help="tokens that each further window predicts (all but one)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="so many tokens of --text, about, and items of --tasks")
    parser.add_argument("--resume", metavar="STATE", help="a file to keep what was done in, and to go on from")
    parser.add_argument(
        "--by-layer",
        action="store_true",
        help="the divergence that the weights of each layer cause (slow: twice a layer)",
    )
    parser.add_argument("--plot", metavar="OUT.png", help="draw bits a weight against divergence, and that by layer")
    options.add_quiet(parser, "line")
    group = parser.add_argument_group("memory and threads")
    group.add_argument("--memory", metavar="SIZE", help="budget of each model such as 600MiB")
    options.add_threads(group)
    options.add_kv(group, [kv for kv in KV_TYPES if kv != "f16"])
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures each model in turn; progress goes to standard error, the results to standard output."""
    if arguments.text is None and arguments.tasks is None:
        raise RequestError("expected --text FILE or --tasks FILE, found neither")
    if arguments.reference is None or arguments.text is None:
        if arguments.plot:
            raise RequestError("--plot: expected --text and --reference, as it draws the divergence between the two")
        if arguments.by_layer:
            raise RequestError("--by-layer: expected --text and --reference in f32 or bf16, found one of them missing")
    if arguments.limit is not None and arguments.limit < 1:
        raise RequestError(f"expected --limit of at least 1, found {arguments.limit}")
    if arguments.resume and len(arguments.model) > 1:
        raise RequestError("--resume: expected one model, found several")
    plot = import_module("qwen3edge.evaluate.plot") if arguments.plot else None  # before the work, which may be long
    results = [_measure_file(options.model_path(model), arguments) for model in arguments.model]
    if plot:
        points = [plot.Point(Path(r["model"]).stem, r["bits_per_weight"], r["text"]["kl"]) for r in results]
        plot.draw(points, arguments.plot, _layers_to_draw(results) if arguments.by_layer else None)
    one = len(results) == 1
    print_result(results[0] if one else results, _tables(results, by_position=one), as_json=arguments.json)
    return 0


def _measure_file(path: str, arguments: argparse.Namespace) -> dict[str, Any]:
    from qwen3edge import _core
    from qwen3edge.evaluate.tasks import accuracy_by_task, run_items
    from qwen3edge.evaluate.texts import read_records

    result: dict[str, Any] = {"model": path, "bits_per_weight": bits_per_weight(_core.ModelFile(path))}
    note = StatusLine(quiet=arguments.quiet)
    with ExitStack() as stack:
        model = stack.enter_context(_load(path, arguments))
        if arguments.text is not None:
            reference = None
            if arguments.reference is not None:
                reference = stack.enter_context(_load(arguments.reference, arguments))
                result["reference"] = arguments.reference
            scores = _measure_text(model, reference, path, arguments, note)
            result["text"] = {"path": arguments.text, "window": arguments.window, **scores.summary()}
            if arguments.by_layer:
                result["layers"] = [asdict(loss) for loss in _measure_layers(model, path, arguments, note)]
        if arguments.tasks is not None:
            items = read_records(arguments.tasks)[: arguments.limit]
            done: list[TaskResult] = []

            def each(found: TaskResult) -> None:
                done.append(found)
                note.show(f"{Path(path).name}: {len(done)} of {len(items)} items, {sum(r.right for r in done)} right")

            run_items(model, items, each=each)
            result["tasks"] = {"path": arguments.tasks, **accuracy_by_task(done)}
            if arguments.answers:
                result["tasks"]["answers"] = [asdict(r) for r in done]
    note.end()
    return result


def _load(path: str, arguments: argparse.Namespace) -> Model:
    from qwen3edge.generation.model import load

    context = None if arguments.tasks is not None else arguments.window
    return load(path, context=context, threads=arguments.threads, kv=arguments.kv, memory=arguments.memory)


def _measure_text(
    model: Model, reference: Model | None, path: str, arguments: argparse.Namespace, note: StatusLine
) -> Scores:
    from qwen3edge.evaluate.measure import measure
    from qwen3edge.evaluate.scores import Scores

    parts = _windows(model, arguments)
    state = Path(arguments.resume) if arguments.resume else None
    key = _key(path, parts, arguments) if state else ""
    begin = Scores.load(state, key) if state is not None and state.exists() else None
    saved = time.monotonic()

    def each(scores: Scores, done: int) -> None:
        nonlocal saved
        kl = f", KL {scores.kl.mean():.4f}" if scores.kl.size else ""
        note.show(f"{Path(path).name}: {done} of {len(parts)} windows, loss {scores.loss.mean():.4f}{kl}")
        if state is not None and (done == len(parts) or time.monotonic() - saved > _SAVE_SECONDS):
            scores.save(state, key)
            saved = time.monotonic()

    return measure(model, parts, reference, begin=begin, each=each)


def _measure_layers(model: Model, path: str, arguments: argparse.Namespace, note: StatusLine) -> list[LayerLoss]:
    from qwen3edge.evaluate.by_layer import loss_by_layer

    return loss_by_layer(
        path,
        arguments.reference,
        _windows(model, arguments),
        threads=arguments.threads,
        progress=lambda part, done, of: note.show(f"{Path(path).name}: {done} of {of} layers, {part}"),
    )


def _windows(model: Model, arguments: argparse.Namespace) -> list[Window]:
    from qwen3edge.evaluate.texts import read_documents, windows

    documents = read_documents(arguments.text, model.prompt_builder)
    parts = list(windows(documents, arguments.window, arguments.stride))
    before = accumulate((len(window.tokens) - window.first for window in parts), initial=0)
    limit = arguments.limit
    return [window for window, tokens in zip(parts, before, strict=False) if limit is None or tokens < limit]


def _key(path: str, parts: Sequence[Window], arguments: argparse.Namespace) -> str:
    """What makes two measurements the same."""
    digest = 0
    for window in parts:
        digest = zlib.crc32(repr(window).encode(), digest)
    files = [path, *([arguments.reference] if arguments.reference else [])]
    stamps = [f"{os.path.realpath(f)}:{os.stat(f).st_size}:{os.stat(f).st_mtime_ns}" for f in files]
    return " ".join([*stamps, arguments.kv, f"{digest:08x}"])


def bits_per_weight(file: _core.ModelFile) -> float:
    """Of all matrices of a file together."""
    matrices = [t for t in file.tensors() if t["format"] != "vector"]
    return 8 * sum(t["nbytes"] for t in matrices) / sum(t["rows"] * t["columns"] for t in matrices)


# ---- tables ----

_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "tokens": lambda r: str(r["tokens"]),
    "perplexity": lambda r: f"{r['perplexity']:.4f}",
    "KL mean": lambda r: f"{r['kl']:.5f}",
    "median": lambda r: f"{r['kl_median']:.5f}",
    "99 %": lambda r: f"{r['kl_99']:.5f}",
    "top-1": lambda r: f"{100 * r['top1']:.2f} %",
}


def _tables(results: Sequence[Mapping[str, Any]], *, by_position: bool) -> str:
    parts: list[list[str]] = []
    texts = [r for r in results if "text" in r]
    if texts:
        parts.append(_aligned([{**_named(r), "bits": f"{r['bits_per_weight']:.2f}", **_row(r["text"])} for r in texts]))
        if by_position:
            bins = [b for b in texts[0]["text"]["by_position"] if b["tokens"]]
            parts.append(_aligned([{"position": f"{b['from']} to {b['to']}", **_row(b)} for b in bins]))
    for r in results:
        if "layers" in r:
            title = f"{Path(r['model']).name}, KL of the weights by layer"
            parts.append([title, *_aligned([_layer_row(found) for found in r["layers"]])])
    tasks = [
        {**_named(r), "task": name, "items": str(t["items"]), "right": f"{100 * t['accuracy']:.1f} %"}
        for r in results
        for name, t in r.get("tasks", {}).items()
        if isinstance(t, dict)
    ]
    if tasks:
        parts.append(_aligned(tasks))
    return "\n\n".join("\n".join(lines) for lines in parts)


def _named(result: Mapping[str, Any]) -> dict[str, str]:
    return {"model": Path(result["model"]).name}


def _row(found: Mapping[str, Any]) -> dict[str, str]:
    return {name: show(found) for name, show in _COLUMNS.items() if "kl" in found or name in ("tokens", "perplexity")}


def _layer_row(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        "part": found["part"],
        "bits": f"{found['bits_per_weight']:.2f}",
        "KL alone": f"{found['kl_alone']:.5f}",
        "with all before": f"{found['kl_up_to']:.5f}",
    }


def _layers_to_draw(results: Sequence[Mapping[str, Any]]) -> dict[str, list[LayerLoss]]:
    from qwen3edge.evaluate.by_layer import LayerLoss

    return {Path(r["model"]).stem: [LayerLoss(**found) for found in r["layers"]] for r in results}


def _aligned(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """A column for each key, its name above; the first to the left, numbers to the right."""
    columns: list[list[str]] = []
    for name in rows[0]:
        cells = [name, *(row[name] for row in rows)]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if columns else cell.ljust(width) for cell in cells])
    return ["  ".join(line) for line in zip(*columns, strict=True)]
