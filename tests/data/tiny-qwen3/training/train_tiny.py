"""Trains the tiny Qwen3 and Qwen2 that the tests and the demo use, on text that this script generates. In this folder:

    python train_tiny.py --out DIR [--minutes N] [--seed S]
    python train_tiny.py --evaluate DIR
    python train_tiny.py --experts --upcycle .. --out DIR --from-step N
    python train_tiny.py --qwen2 --upcycle .. --out DIR

The 4,800 steps take about 45 minutes on two cores with AVX-512 bf16; --minutes bounds slower or busier machines.
Needs torch, transformers, tokenizers, safetensors, jinja2 and numpy. The chat template is Qwen3's own; it is read from
a tokenizer_config.json, by default that of the model shipped in tests/data/tiny-qwen3.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Threads that spin at barriers make a step five times slower as soon as another program wants a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from jinja2 import Template
from safetensors.torch import load_file, save_file
from tiny_cut import cut
from tiny_mix import FIRST_MIX, LATER_MIX, held_out_items, to_record, training_items
from tiny_model import Tiny, TinyConfig, TinyMoeConfig, TinyQwen2Config, TinyQwen3
from tiny_tasks import Item
from tiny_tokenizer import compile_template, corpus, render, tokenizer_config, train_tokenizer
from tiny_words import CAPITALS, CITIES, EXTRA, NAMES, PAIRS
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwen3edge.evaluate.judges import is_right

SHIPPED = Path(__file__).resolve().parents[1]
BPE_ENTRIES = 2500
VOCAB_SIZE = 2560  # a multiple of 128, and larger than the tokenizer's as in Qwen3
ROWS, LENGTH = 11, 384  # tokens of a step, unless --rows and --length say otherwise; a row holds several chats
STEPS = 4800
FIRST_SHARE = 0.4  # of the training that is on FIRST_MIX
CUT_ROWS = 160  # of half the length, from which a Qwen2 is cut
MUON_RATE, ADAM_RATE = 0.02, 2e-3
NO_MATRICES = ("embed", "mlp.gate.", "in_proj_a", "in_proj_b")  # each row is a token's, an expert's or a head's own
HELD_OUT_PER_TASK = 40
GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "max_new_tokens": 160}
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Plan:
    """How long to train, and how fast; `from_step` is not zero when the weights come from an interrupted run."""

    steps: int
    minutes: float
    from_step: int = 0
    warm_up: int = 100
    rate: float = 1.0  # of the usual ones


@dataclass(frozen=True)
class Lesson:
    """What the model is told about its answers to these batches."""

    loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    batches: Iterator[Batch]


def build_tokenizer(template: Template, seed: int) -> Tokenizer:
    """Trains the BPE on chats and on the word lists, so that every word of the lists becomes one or two tokens."""
    words = [word for pair in [*PAIRS, *CITIES, *CAPITALS] for word in pair]
    words += [word for table in (NAMES, EXTRA) for language in table.values() for word in language]
    spaced = [f" {word}" for word in words] * 10 + words * 5
    items = itertools.islice(training_items(seed + 1, FIRST_MIX), 12000)
    return train_tokenizer(corpus(template, items, spaced), BPE_ENTRIES)


def encode(tokenizer: Tokenizer, template: Template, item: Item) -> tuple[list[int], list[int]]:
    """Token ids of a chat and, of the same length, the next-token targets: -100 outside the assistant's answer."""
    chat = render(template, item)
    prompt, answer = tokenizer.encode(chat.prompt).ids, tokenizer.encode(chat.answer).ids
    return prompt + answer, [-100] * (len(prompt) - 1) + answer + [-100]


def batches(tokenizer: Tokenizer, template: Template, items: Iterator[Item], shape: tuple[int, int]) -> Iterator[Batch]:
    """Packed batches of the shape [rows, length]: tokens, chat numbers, positions in the chat, targets."""
    rows, length = shape
    encoded = (encode(tokenizer, template, item) for item in items)
    stream = (chat for chat in encoded if len(chat[0]) <= length)
    chat = next(stream)
    while True:
        tokens = np.zeros(shape, dtype=np.int64)
        chats = np.zeros(shape, dtype=np.int64)  # 0 is padding
        positions = np.zeros(shape, dtype=np.int64)
        targets = np.full(shape, -100, dtype=np.int64)
        used = [0] * rows
        number = 1
        while True:
            size = len(chat[0])
            row = next((row for row in range(rows) if used[row] + size <= length), None)
            if row is None:
                break  # this chat opens the next batch
            place = slice(used[row], used[row] + size)
            tokens[row, place], targets[row, place] = chat
            chats[row, place], positions[row, place] = number, np.arange(size)
            used[row] += size
            number += 1
            chat = next(stream)
        yield tuple(torch.from_numpy(array) for array in (tokens, chats, positions, targets))  # type: ignore[misc]


def make_optimizers(model: Tiny) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, which it trains in fewer steps; AdamW for all else that is to be trained."""
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    inner = {name for name, weight in named if weight.dim() == 2 and not any(part in name for part in NO_MATRICES)}
    matrices, others = [[w for name, w in named if (name in inner) == wanted] for wanted in (True, False)]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(model: Tiny, lessons: Sequence[Lesson], plan: Plan, checkpoint: Callable[[], None]) -> int:
    """Trains on the two lessons in turn, with a linear warm-up and a linear decay to zero; returns the last step.

    The decay follows the steps, or the time if that runs out first: a busy machine trains shorter, never longer.
    """
    optimizers = make_optimizers(model)
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    start = last_saved = time.monotonic()
    done = plan.from_step / plan.steps
    warm_up = plan.warm_up if plan.from_step == 0 else plan.warm_up // 4
    average = 0.0
    for step in range(plan.from_step + 1, plan.steps + 1):
        elapsed = (time.monotonic() - start) / 60
        progress = max((step - 1) / plan.steps, done + (1 - done) * elapsed / plan.minutes)
        if progress >= 1:
            return step - 1
        factor = min((step - plan.from_step) / warm_up, (1 - progress) / 0.9, 1.0)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = plan.rate * rate * factor
        lesson = lessons[progress >= FIRST_SHARE]
        loss = lesson.loss(*next(lesson.batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        average = loss.item() if average == 0 else 0.98 * average + 0.02 * loss.item()
        if step % 100 == 0:
            print(f"step {step:5}  loss {average:.4f}  {elapsed:5.1f} min", flush=True)
        if time.monotonic() - last_saved > 240:
            checkpoint()
            last_saved = time.monotonic()
    return plan.steps


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def save(folder: Path, model: Tiny, tokenizer: Tokenizer, chat_template: str, seed: int) -> None:
    """Writes the whole Hugging Face folder beside `folder`, then moves its files there one by one."""
    staging = folder.with_name(folder.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    weights = {name: weight.detach().to(torch.bfloat16).contiguous() for name, weight in model.checkpoint().items()}
    save_file(weights, staging / "model.safetensors", metadata={"format": "pt"})
    end, pad = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
    write_json(staging / "config.json", model.config_json(end, pad))
    sampling = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}
    write_json(
        staging / "generation_config.json",
        {"bos_token_id": pad, "eos_token_id": [end, pad], "pad_token_id": pad, **sampling},
    )
    tokenizer.save(str(staging / "tokenizer.json"))
    config = tokenizer_config(tokenizer, chat_template, model.config.max_position_embeddings)
    write_json(staging / "tokenizer_config.json", config)
    with open(staging / "heldout.jsonl", "w", encoding="utf-8") as lines:
        for item in held_out_items(seed, HELD_OUT_PER_TASK):
            lines.write(json.dumps(to_record(item), ensure_ascii=False) + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(staging.iterdir()):
        path.chmod(0o644)  # safetensors writes files that only their owner may read
        os.replace(path, folder / path.name)
    staging.rmdir()


def evaluate(folder: Path, batch_size: int = 40, dtype: torch.dtype = torch.bfloat16) -> float:
    """Greedy answers of the saved model to its held-out items; prints and returns the share of right ones."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    lines = (folder / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    prompts = [
        tokenizer.apply_chat_template(
            record["messages"],
            tools=record.get("tools"),
            enable_thinking=record["enable_thinking"],
            add_generation_prompt=True,
            tokenize=False,
        )
        for record in records
    ]
    order = sorted(range(len(records)), key=lambda i: len(prompts[i]))  # rows of one length need little padding
    right: Counter[tuple[str, bool]] = Counter()
    total: Counter[tuple[str, bool]] = Counter()
    most_above = 0.0
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        inputs = tokenizer([prompts[i] for i in chosen], return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = model.generate(**inputs, **GREEDY)
            most_above = max(most_above, _most_above(model, output, inputs["attention_mask"]))
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, text in zip(chosen, texts, strict=True):
            kind = records[i]["task"], records[i]["enable_thinking"]
            total[kind] += 1
            right[kind] += is_right(records[i], text)
            if not is_right(records[i], text):
                print(f"wrong: {records[i]['task']}: {records[i]['messages'][-1]['content']!r} -> {text!r}")
    print("\n| task | thinking | not thinking |\n| --- | --- | --- |")
    for task in dict.fromkeys(record["task"] for record in records):
        cells = [f"{right[task, mode]}/{total[task, mode]}" for mode in (True, False)]
        print(f"| {task} | {cells[0]} | {cells[1]} |")
    share = right.total() / total.total()
    print(f"\n{right.total()} of {total.total()} right: {100 * share:.1f} %")
    print(f"without a cache another token's logit is at most {most_above:.1e} higher")
    return share


def _most_above(model: nn.Module, output: Tensor, mask: Tensor) -> float:
    """The most that another token's logit is above that of a token of an answer, in passes without a cache; 0 if these
    give the same greedy answers. output: prompts and answers, [rows, length]; mask: of the prompts, 0 is padding.
    """
    most = 0.0
    for row, padding in zip(output, (mask == 0).sum(1).tolist(), strict=True):
        answer = row[mask.shape[1] :]
        logits = model(row[None, padding:], use_cache=False).logits[0, -len(answer) - 1 : -1].float()
        above = logits.max(dim=1).values - logits.gather(1, answer[:, None])[:, 0]
        most = max(most, float(above[answer != model.generation_config.pad_token_id].max()))  # which follows the end
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder to write the model to")
    parser.add_argument("--evaluate", type=Path, metavar="DIR", help="only evaluate the model in DIR")
    parser.add_argument("--minutes", type=float, default=55, help="limit of the training time (%(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps (%(default)s)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="continue with the weights and tokenizer in DIR")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--experts", action="store_true", help="a mixture of 16 experts, 4 a token")
    kind.add_argument("--qwen2", action="store_true", help="a smaller Qwen2: a bias in queries, keys and values")
    parser.add_argument(
        "--upcycle", type=Path, metavar="DIR", help="start with parts of the dense model in DIR, and its tokenizer"
    )
    parser.add_argument("--from-step", type=int, default=0, help="the step at which --resume continues (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=ROWS, help="of --length tokens a step (%(default)s)")
    parser.add_argument("--length", type=int, default=LENGTH, help="longer chats are left out (%(default)s)")
    parser.add_argument("--float32", action="store_true", help="multiply in float32: for CPUs without bf16")
    parser.add_argument("--template", type=Path, default=SHIPPED / "tokenizer_config.json", help="holds chat_template")
    arguments = parser.parse_args()
    if (arguments.out is None) == (arguments.evaluate is None):
        parser.error("give either --out or --evaluate")
    if arguments.upcycle is not None and not (arguments.experts or arguments.qwen2):
        parser.error("--upcycle: expected --experts or --qwen2 as well")
    torch.set_num_threads(arguments.threads)
    if arguments.evaluate is not None:
        evaluate(arguments.evaluate)
        return

    start = time.monotonic()
    print(f"seed {arguments.seed}")
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    chat_template = json.loads(arguments.template.read_text(encoding="utf-8"))["chat_template"]
    template = compile_template(chat_template)
    config = TinyMoeConfig if arguments.experts else TinyQwen2Config if arguments.qwen2 else TinyConfig
    model = TinyQwen3(config(VOCAB_SIZE), torch.float32 if arguments.float32 else torch.bfloat16)
    before = arguments.resume or arguments.upcycle
    if before is None:
        tokenizer = build_tokenizer(template, arguments.seed)
    else:
        tokenizer = Tokenizer.from_file(str(before / "tokenizer.json"))
        start_weights = load_file(before / "model.safetensors")
        if arguments.resume is not None:
            model.restore(start_weights)
        elif arguments.experts:
            model.upcycle(start_weights)
        else:
            large = TinyQwen3(TinyConfig(VOCAB_SIZE), torch.float32)
            large.restore(start_weights)
            items = training_items(arguments.seed + 2, LATER_MIX)
            cut(model, large, *next(batches(tokenizer, template, items, (CUT_ROWS, LENGTH // 2)))[:3])
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{tokenizer.get_vocab_size()} tokens, {parameters / 1e6:.2f} million parameters", flush=True)

    def checkpoint() -> None:
        save(arguments.out, model, tokenizer, chat_template, arguments.seed)

    mixes = [training_items(arguments.seed, FIRST_MIX), training_items(arguments.seed, LATER_MIX)]
    shape = arguments.rows, arguments.length
    lessons = [Lesson(model.loss, batches(tokenizer, template, items, shape)) for items in mixes]
    steps = train(model, lessons, Plan(arguments.steps, arguments.minutes, arguments.from_step), checkpoint)
    checkpoint()
    print(f"{steps} steps in {(time.monotonic() - start) / 60:.1f} minutes")
    evaluate(arguments.out)


if __name__ == "__main__":
    main()
