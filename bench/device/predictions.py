"""What was expected before anything ran on a device: estimates on paper, for one H200.

Not to be changed after a run: the page that bench/device/render.py makes shows them beside what was measured.
"""

from __future__ import annotations

PREDICTIONS = {
    "empty kernel in a graph": "1.2 to 1.6 us",
    "copy": "4.0 to 4.4 TB/s",
    "decode 0.6B int4, 1 sequence, the device alone": "0.5 to 0.8 ms",
    "decode 0.6B int8, 1 sequence, the device alone": "no slower than int4",
    "head q6z32 of 0.6B, 1 token": "55 to 65 % of copy",
    "gate_up q4z64 of 8B, 512 tokens": "350 to 450 TFLOP/s",
    "prompt 0.6B int4, 512 tokens": "20 to 30 ms, most of it the host's",
}
