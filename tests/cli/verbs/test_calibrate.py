"""`qwen3edge calibrate` and what convert makes of it, as a user runs them."""

import json

from tests.cli.command import one_line, run, started


def test_calibrate_and_convert(tiny_q3e, tiny_model_path, tmp_path):
    statistics, first, second = tmp_path / "s.npz", tmp_path / "a.q3e", tmp_path / "b.q3e"
    result = started(
        "calibrate", tiny_q3e("bf16"), "--out", statistics, "--limit", 200, "--window", 100, "--sensitivity",
        "--sensitivity-tokens", 100, "--threads", 1, "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["tokens"] == 200
    made = run("convert", tiny_model_path, first, "--imatrix", statistics, "--target-bits", 4.6, "--json")
    assert 4.5 < json.loads(made.stdout)["bits_per_weight"] <= 4.6
    run("convert", tiny_model_path, second, "--imatrix", statistics, "--recipe", first)
    a, b = (json.loads(run("info", path, "--tensors", "--json").stdout)["tensors"] for path in (first, second))
    assert [(t["format"], t["crc32"]) for t in a] == [(t["format"], t["crc32"]) for t in b]
    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        '{"name": "mine", "rules": [{"pattern": "*ffn*", "format": "q4z64"}, {"pattern": "*", "format": "q8"}]}'
    )
    run("convert", tiny_model_path, second, "--recipe", recipe)
    formats = {t["name"]: t["format"] for t in json.loads(run("info", second, "--tensors", "--json").stdout)["tensors"]}
    assert formats["blk.0.ffn_up.weight"] == "q4z64"
    assert formats["blk.0.attn_q.weight"] == "q8"
    one_line(run("convert", tiny_model_path, second, "--recipe", recipe, "--quant", "int8"), 2)
    recipe.write_text('{"rules": 3}')
    one_line(run("convert", tiny_model_path, second, "--recipe", recipe), 2)
