"""Trains the tiny Qwen3.5 of the tests on the text of the tiny Qwen3, from which it takes what it can. In this folder:

    python train_hybrid.py --out DIR [--minutes N] [--seed S]
    python train_hybrid.py --evaluate DIR

First its gated delta nets learn to write what the Qwen3's attention writes, then all of it learns to answer. The chat
template is Qwen3.5's own, of the model shipped in tests/data/tiny-qwen3-5 unless --template names another. Needs
transformers with `qwen3_5`, and what train_tiny.py needs.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny_hybrid import Batch, TinyHybrid, rows_of_a_chat
from tiny_mix import LATER_MIX, training_items
from tiny_model import TinyConfig, TinyQwen3
from tiny_tokenizer import as_qwen3_5, compile_template
from tokenizers import Tokenizer
from train_tiny import SHIPPED, VOCAB_SIZE, Lesson, Plan, encode, evaluate, save, train

MIXER_STEPS, STEPS = 250, 600
TOKENS = 2048  # of a step, with padding
LONGEST = 640  # of a chat; the system prompt with tools is long
GENTLE = 0.5  # of the usual rates, when all is trained: most of it has been before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder to write the model to")
    parser.add_argument("--evaluate", type=Path, metavar="DIR", help="only evaluate the model in DIR, in float32")
    parser.add_argument("--minutes", type=float, default=45, help="limit of each of the two parts (%(default)s)")
    parser.add_argument("--mixer-steps", type=int, default=MIXER_STEPS, help="of the first part (%(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the second part (%(default)s)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="begin the second part with the weights in DIR")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--template",
        type=Path,
        default=SHIPPED.with_name("tiny-qwen3-5") / "tokenizer_config.json",
        help="holds chat_template, or is one if it ends in .jinja (%(default)s)",
    )
    arguments = parser.parse_args()
    if (arguments.out is None) == (arguments.evaluate is None):
        parser.error("give either --out or --evaluate")
    torch.set_num_threads(arguments.threads)
    if arguments.evaluate is not None:
        evaluate(arguments.evaluate, dtype=torch.float32)
        return

    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    print(f"seed {arguments.seed}")
    chat_template = arguments.template.read_text(encoding="utf-8")
    if arguments.template.suffix == ".json":
        chat_template = json.loads(chat_template)["chat_template"]
    template = compile_template(chat_template)
    tokenizer = as_qwen3_5(Tokenizer.from_file(str(SHIPPED / "tokenizer.json")))
    model = TinyHybrid(VOCAB_SIZE)
    print(f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.2f} million parameters", flush=True)

    def batches(seed: int, *, tools: bool) -> Iterator[Batch]:
        items = (item for item in training_items(seed, LATER_MIX) if tools or not item.tools)
        encoded = (encode(tokenizer, template, item) for item in items if not item.soft_switch)
        return rows_of_a_chat((chat for chat in encoded if len(chat[0]) <= LONGEST), TOKENS)

    def checkpoint() -> None:
        save(arguments.out, model, tokenizer, chat_template, arguments.seed)

    def learn(lesson: Lesson, plan: Plan, what: str) -> None:
        start = time.process_time()
        steps = train(model, [lesson, lesson], plan, checkpoint)
        checkpoint()
        print(f"{what}: {steps} steps, {(time.process_time() - start) / 60:.1f} minutes of a CPU", flush=True)

    if arguments.resume is not None:
        model.restore(load_file(arguments.resume / "model.safetensors"))
    else:
        large = TinyQwen3(TinyConfig(VOCAB_SIZE), torch.float32)
        large.restore(load_file(SHIPPED / "model.safetensors"))
        model.adopt(large)
        model.train_mixers_alone(True)
        lesson = Lesson(functools.partial(model.mixers_loss, large), batches(arguments.seed, tools=False))
        learn(lesson, Plan(arguments.mixer_steps, arguments.minutes, warm_up=10), "mixers")
        model.train_mixers_alone(False)
    lesson = Lesson(model.loss, batches(arguments.seed + 1, tools=True))
    learn(lesson, Plan(arguments.steps, arguments.minutes, warm_up=10, rate=GENTLE), "all")
    evaluate(arguments.out, dtype=torch.float32)


if __name__ == "__main__":
    main()
