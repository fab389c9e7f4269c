"""Before NumPy is loaded: the models are so small that BLAS's threads would only wait for each other."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
