"""The tags around thoughts; `_core.AnswerText` tells thoughts from content by their ids, or by text if they have none."""

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
