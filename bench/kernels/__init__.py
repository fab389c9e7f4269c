"""Single kernels of the CPU: `python -m bench.kernels`."""
