"""What an answer must match: from a request's option to the mask of the next token. `vocabulary` needs llguidance."""
