"""Measuring; docs/bench.md says how. Every program compares its result, then times it."""
