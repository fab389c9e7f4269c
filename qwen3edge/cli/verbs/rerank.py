"""`qwen3edge rerank MODEL QUERY FILE`."""

from __future__ import annotations

import argparse

from qwen3edge.cli import arguments as options
from qwen3edge.cli.output import print_json

HELP = "print how well each line of a file answers a query, the best first, an object of JSON a line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, a query, documents, and how the model is loaded."""
    options.add_model(parser)
    parser.add_argument("query", metavar="QUERY")
    parser.add_argument("file", metavar="FILE", help="a document a line, blank ones left out; - for standard input")
    parser.add_argument("--instruction", metavar="TEXT", help="what makes a document right (default: Qwen3-Reranker's)")
    options.add_loading(parser)
    options.add_sequences(parser, "documents that are computed together")


def run(arguments: argparse.Namespace) -> int:
    """Reads the file to its end, then prints; equal scores stay in the file's order."""
    from qwen3edge.cli.prompts import read_lines
    from qwen3edge.generation.model import load
    from qwen3edge.text.pooled import RERANK_INSTRUCTION

    with load(arguments.model, **options.loading(arguments)) as model:
        documents = read_lines(arguments.file, model.plan.context, "documents")
        task = RERANK_INSTRUCTION if arguments.instruction is None else arguments.instruction
        scores = model.rerank(arguments.query, documents, task).tolist()
    for score, index in sorted(zip(scores, range(len(scores)), strict=True), key=lambda pair: (-pair[0], pair[1])):
        print_json({"index": index, "score": score, "document": documents[index]})
    return 0
