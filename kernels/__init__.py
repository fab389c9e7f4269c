"""Triton kernels, importable only as `qwen3edge.kernels`: one op per file, torch and triton only."""
