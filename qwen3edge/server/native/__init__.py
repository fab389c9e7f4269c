"""What is of no API of others, or of llama.cpp's server: a file an endpoint."""
