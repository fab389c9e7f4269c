"""What each kernel must compute, in torch: what tests and benches compare with."""
