"""What this device takes for the smallest things: a launch, a copy, a large product, a row of logits to the host."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from bench.device.context import Context


@triton.jit
def next_kernel(counter):
    """Waits for the one before it: it adds 1 to what that one wrote."""
    tl.store(counter, tl.load(counter) + 1)


def run(context: Context) -> None:
    """Figures alone."""
    small = context.interpreted
    if not small:
        properties = torch.cuda.get_device_properties(context.place)
        context.result("device", value=properties.multi_processor_count, unit="multiprocessors", device=properties.name,
                       memory=properties.total_memory, torch=torch.__version__, triton=triton.__version__)  # fmt: skip
    kernels = 3 if small else 500
    counter = torch.zeros(1, dtype=torch.int32, device=context.place)

    def launches() -> None:
        for _ in range(kernels):
            next_kernel[(1,)](counter, num_warps=1)

    one, spread = context.microseconds(launches)
    right = int(counter) % kernels == 0 and int(counter) > 0
    context.result("empty kernel in a graph", right, one / kernels, "us", spread=spread / kernels)

    source = torch.ones(1 << (10 if small else 30), dtype=torch.int32, device=context.place)
    target = torch.empty_like(source)
    taken, spread = context.microseconds(lambda: target.copy_(source))
    context.result("copy", torch.equal(source, target), 2 * source.nbytes / taken / 1e6, "TB/s", spread=spread)
    size = 16 if small else 8192
    a, b = (torch.randn(size, size, device=context.place).to(context.dtype) for _ in range(2))
    out = torch.empty_like(a)
    taken, _ = context.microseconds(lambda: torch.mm(a, b, out=out))
    context.result("product of torch, 8192 x 8192 x 8192", None, 2 * size**3 / taken / 1e6, "TFLOP/s")
    logits = torch.zeros(1, 151936, device=context.place)
    for pinned in () if small else (False, True):
        host = torch.empty(logits.shape, pin_memory=pinned)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        host.copy_(logits)
        begin.record()
        host.copy_(logits, non_blocking=pinned)
        end.record()
        end.synchronize()
        name = f"a row of logits to {'pinned' if pinned else 'pageable'} memory"
        context.result(name, None, 1000 * begin.elapsed_time(end), "us")
