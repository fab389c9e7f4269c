"""Ollama's API: what Home Assistant, Open WebUI, Cline and VS Code speak."""
