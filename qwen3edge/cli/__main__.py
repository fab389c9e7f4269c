"""`python -m qwen3edge.cli`."""

from __future__ import annotations

import sys

from qwen3edge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
