"""The least time that a kernel's bytes and operations take on a device, from its datasheet. Paper: nothing was run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """Datasheet figures: bandwidth in GB/s; dense fp16 tensor operations with fp32 sums, in TFLOP/s."""

    bandwidth: float
    tensor: float

    def microseconds(self, bytes_moved: int, operations: int) -> float:
        """Whichever of both takes longer."""
        return max(bytes_moved / (self.bandwidth * 1e3), operations / (self.tensor * 1e6))


# NVIDIA: Jetson AGX Orin Technical Brief (64 GB, 170 sparse int8 TOPS of its GPU); Ada GPU Architecture, appendix A;
# H100 Tensor Core GPU datasheet (SXM, half of the sparse figure).
DEVICES = {
    "Orin": Device(bandwidth=204.8, tensor=42.5),
    "4090": Device(bandwidth=1008, tensor=165.2),
    "H100": Device(bandwidth=3350, tensor=989.4),
}
