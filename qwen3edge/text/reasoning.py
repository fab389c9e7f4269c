"""The tokens around thoughts; `_core.AnswerText` tells thoughts from content by their ids."""

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
