"""Before NumPy and torch are loaded: the models are so small that threads of theirs would only wait for each other."""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
