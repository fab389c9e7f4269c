"""What a model's matrices meet in real text, and how much each one matters: measured on our engine."""
