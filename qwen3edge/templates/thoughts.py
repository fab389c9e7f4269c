"""What a template does about thoughts when nobody says."""

from __future__ import annotations

from qwen3edge.errors import TemplateError
from qwen3edge.templates.sandbox import BoundedSandbox


def closes_thoughts(source: str) -> bool:
    """Whether its prompts end with closed thoughts, as those of Qwen3.5 up to 2B do; False where it has no prompt for
    a single question.
    """
    sandbox = BoundedSandbox()
    variables = {
        "messages": [{"role": "user", "content": "Hi"}],
        "add_generation_prompt": True,
        "tools": None,
        "documents": None,
        "bos_token": "",
        "eos_token": "",
    }
    try:
        prompt = sandbox.render_bounded(sandbox.compile_bounded(source), variables)
    except TemplateError:
        return False
    return prompt.rstrip().endswith("</think>")
