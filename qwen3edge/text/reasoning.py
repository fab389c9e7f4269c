"""The tags around thoughts, by whose ids (or text, where they have none) `_core.AnswerText` tells them from content."""

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
