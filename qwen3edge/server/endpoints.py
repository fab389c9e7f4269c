"""All endpoints but those that every server has from its start."""

from __future__ import annotations

from qwen3edge.server.anthropic import messages
from qwen3edge.server.native import sessions, texts
from qwen3edge.server.ollama import chat, embed, pull
from qwen3edge.server.ollama import models as tags
from qwen3edge.server.openai import completions, embeddings, rerank, responses
from qwen3edge.server.page import files

OTHERS = (
    *(completions.routes, responses.routes, embeddings.routes, rerank.routes),
    *(messages.routes, chat.routes, embed.routes, tags.routes, pull.routes),
    *(files.routes, texts.routes, sessions.routes),
)
