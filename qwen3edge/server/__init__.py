"""`qwen3edge serve`: models behind the interfaces that people's tools call, each a thin adapter."""
