"""The first minutes on a GPU: is it right, what does it cost, how fast is it; a child process a step."""
