"""The extras of pyproject.toml, and what is said where one is not installed."""

from __future__ import annotations

from qwen3edge.errors import MissingExtraError

EXTRAS = {
    "gguf": "convert",
    "safetensors": "convert",
    "rich": "convert",
    "torch": "gpu",
    "triton": "gpu",
    "matplotlib": "plot",
    "llguidance": "grammar",
    "huggingface_hub": "hub",
    "httpx2": "hub",
    "modelscope_hub": "hub",
    "fastapi": "serve",
    "starlette": "serve",
    "pydantic": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
}
"""The packages that some parts need beyond the runtime's, and the extra that brings each."""


def named_extra(what: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """What to raise where importing `what` failed: the error itself, if no extra brings the package."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return error
    return MissingExtraError(
        f"{what} needs: pip install 'qwen3edge[{EXTRAS[package]}]' (found no {package})", name=package
    )
