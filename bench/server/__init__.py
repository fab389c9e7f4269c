"""Servers under load and from their start, ours and llama.cpp's."""
