"""What the graph launches for models of our recipes is what gate and `aot` compile; how many launches a token takes."""

import pytest

from bench.gpu.recorded import counted, launches, token_launches
from qwen3edge.kernels.catalog import all_specializations, compilation
from qwen3edge.runtime.aot_shapes import RECIPES, shape_of


@pytest.mark.parametrize("target", ["sm_87", "sm_90", "gfx942"])
@pytest.mark.parametrize("model", ["0.6B", "4B", "8B", "30B-A3B"])
def test_every_launch_is_listed(model, target):
    listed = {compilation(special): special.name for special in all_specializations(shape_of(model), target)}
    found = {
        compilation(launch.specialization): launch.specialization
        for recipe in RECIPES
        for int8 in (False, True)
        for launch in launches(model, recipe, target, int8=int8)
    }
    print(f"{model} {target}: {len(found)} compilations recorded, {len(listed)} listed")
    missing = [special for key, special in found.items() if key not in listed]
    assert not missing, "\n".join(f"{m.name} {m.signature} {m.constexprs} {m.compile_options()}" for m in missing[:5])
    assert len(found) > 20


MOST = {"0.6B": 200, "4B": 256, "8B": 256, "30B-A3B": 484}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("model", MOST)
def test_launches_a_token(model, recipe):
    noted = token_launches(model, recipe, "sm_90")
    print(f"{model} {recipe}: {len(noted)} launches a token, {counted(noted)}")
    assert len(noted) <= MOST[model]
