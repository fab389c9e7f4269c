"""Checkpoints into `.q3e` files. Needs the extra `convert` (gguf, safetensors); never torch."""

from qwen3edge.extras import named_extra

try:
    from qwen3edge.convert.checkpoint import ConvertReport, Progress, convert
    from qwen3edge.convert.compressed_export import export_compressed
    from qwen3edge.convert.gguf_export import ExportReport, export_gguf
    from qwen3edge.convert.recipe import RECIPES, Recipe, Rule, read_recipe
    from qwen3edge.convert.shard_release import DoneWith, SourceGoneError
except ModuleNotFoundError as error:
    raise named_extra("qwen3edge.convert", error) from None

__all__ = [
    "RECIPES",
    "ConvertReport",
    "DoneWith",
    "ExportReport",
    "Progress",
    "Recipe",
    "Rule",
    "SourceGoneError",
    "convert",
    "export_compressed",
    "export_gguf",
    "read_recipe",
]
