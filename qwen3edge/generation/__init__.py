"""From text to text: tokenizer, chat template, sampling, sessions."""
