"""The kernels of a mixture of experts compile without spills; the static bench covers all targets and shapes."""

import pytest

from qwen3edge.kernels import moe_align, moe_combine, moe_matmul, moe_router
from qwen3edge.kernels.compiled import compile_for
from qwen3edge.runtime.aot_shapes import shape_of
from tests.kernels_compiled.releases import expect_spills

MODULES = (moe_router, moe_align, moe_combine, moe_matmul)


@pytest.mark.parametrize("target", ["sm_87", "gfx1100"])
@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.rpartition(".")[2])
def test_no_spills(module, target, request):
    expect_spills(request, module.__name__.rpartition(".")[2], target)
    listed = module.specializations(shape_of("30B-A3B"), target)
    assert listed and not module.specializations(shape_of("0.6B"), target)
    for specialization in listed:
        code = compile_for(specialization, target)
        print(specialization.name, target, code.registers, code.shared_bytes, code.instructions)
        assert code.spills == 0, specialization.name
        if specialization.weight_arguments and target.startswith("sm_"):
            assert code.count("LDGSTS.E.BYPASS.128", loops=True) and not code.count("I2F", loops=True)
