"""What the bytes mean: block formats, the `.q3e` container, foreign checkpoints."""
