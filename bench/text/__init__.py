"""What lies between texts and tokens."""
