"""Where the graph runs: a GPU, or Triton's interpreter on the CPU for tests."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from qwen3edge.errors import RequestError
from qwen3edge.runtime.torch_backend.pages import KV_TYPES

INTERPRETER = "interpreter"
OLDEST = (8, 0)  # of NVIDIA's: bfloat16, and copies into shared memory that are not waited for


@dataclass(frozen=True)
class Device:
    """A device that is there.

    place: where tensors lie. dtype: of activations between kernels. captures: whether decode steps become CUDA graphs.
    kv_types: what the cache may hold (`pages.KV_TYPES`).
    """

    place: torch.device
    dtype: torch.dtype
    captures: bool
    kv_types: tuple[str, ...] = tuple(KV_TYPES)

    @classmethod
    def named(cls, name: str, present: bool = True) -> Device:
        """ "cuda", "cuda:1" (also AMD's, as torch calls them) or "interpreter". Raises RequestError.

        present False: it need not be there, as for a plan.
        """
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        if name == INTERPRETER:
            if present and not interpreted:
                raise RequestError(
                    "device='interpreter': expected TRITON_INTERPRET=1 in the environment, found it unset"
                )
            # Triton's interpreter computes bfloat16 on its bit patterns.
            return cls(torch.device("cpu"), torch.float16, captures=False, kv_types=("int8", "f16"))
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = torch.device(name).index or 0
        if present and index >= found:
            raise RequestError(f"device={name!r}: expected a GPU that torch can use, found {found} of them")
        if present and not interpreted and torch.version.hip is None:
            capability = torch.cuda.get_device_capability(index)
            if capability < OLDEST:
                raise RequestError(
                    f"device={name!r}: expected a GPU of compute capability {OLDEST[0]}.{OLDEST[1]} or newer, "
                    f"found {capability[0]}.{capability[1]} ({torch.cuda.get_device_name(index)}); use device='cpu'"
                )
        return cls(torch.device("cuda", index), torch.bfloat16, captures=not interpreted)

    def current(self) -> AbstractContextManager[object]:
        """While it lasts, kernels, streams and graphs of this thread are those of the device."""
        return torch.cuda.device(self.place) if self.place.type == "cuda" else nullcontext()

    def give_back(self) -> None:
        """Memory that torch keeps though no tensor has it."""
        if self.place.type == "cuda":
            torch.cuda.empty_cache()

    def free_bytes(self) -> int:
        """What is free on the device now; the default budget."""
        if self.place.type == "cuda":
            free: int = torch.cuda.mem_get_info(self.place)[0]
            return free
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
