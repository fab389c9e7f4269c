"""Converts a Hugging Face folder into a `.q3e` file: `qwen3edge convert` for those who look for a script.

python scripts/convert.py SRC OUT.q3e --quant int4
"""

import sys

from qwen3edge.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
