"""Texts to token ids and back: tokenizer, chat template, messages, prompts, reasoning and stop strings."""
