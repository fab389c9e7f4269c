"""What compiled GPU kernels look like."""
