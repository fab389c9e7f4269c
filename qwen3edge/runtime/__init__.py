"""The engine and its memory plan."""
