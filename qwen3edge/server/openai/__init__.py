"""OpenAI's API: a file an endpoint."""
