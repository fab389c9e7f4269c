"""What quantization costs."""
