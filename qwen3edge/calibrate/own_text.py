"""Text that a model writes itself: calibration without any data."""

from __future__ import annotations

import random

from qwen3edge import _core
from qwen3edge.evaluate.texts import Tokens
from qwen3edge.generation.model import Model


def write_text(model: Model, tokens: int, window: int, *, seed: int = 0) -> list[Tokens]:
    """Documents of `window` tokens, about `tokens` in all, sampled at temperature 1 over the whole vocabulary.

    Each begins as a user's message does, or with a random token where the model has no chat template.
    """
    if model.prompt_builder.template is not None:
        start = tuple(model.prompt_builder.tokenizer.encode_prompt("<|im_start|>user\n"))
    else:
        start = ()
    vocabulary, usable = model.config.vocab_size, model.prompt_builder.tokenizer.vocabulary_size
    documents, rng = [], random.Random(seed)
    slot = model.engine.acquire()
    try:
        for number in range(max(1, tokens // window)):
            model.engine.truncate(slot, 0)
            document = list(start) or [rng.randrange(usable)]
            sampler = _core.Sampler(
                vocabulary=vocabulary, usable=usable, temperature=1.0, top_k=0, top_p=1.0, seed=seed, choice=number
            )
            last = model.engine.extend(slot, document, logits=[i == len(document) - 1 for i in range(len(document))])
            while len(document) < window:
                document.append(sampler.sample(last[-1], index=len(document)))
                last = model.engine.extend(slot, document[-1:], logits=True)
            documents.append(tuple(document))
    finally:
        model.engine.release(slot)
    return documents
