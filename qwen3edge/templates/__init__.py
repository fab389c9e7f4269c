"""Chat templates as checkpoints bring them: what they may do, and what they may take."""
