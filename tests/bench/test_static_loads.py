"""Widths of loads are traced to the argument that they read, past arithmetic but not through other loads."""

import pytest

from bench.gpu.static_loads import amd_loads, ptx_loads, weight_bits, widest_share

PTX = """
	.param .u64 .ptr .global .align 1 k_param_0,
	.param .u64 .ptr .global .align 1 k_param_1,
	.param .u32 k_param_2
	ld.param.b64 	%rd1, [k_param_0];
	ld.param.b64 	%rd2, [k_param_1];
	ld.param.b32 	%r1, [k_param_2];
	mul.wide.s32 	%rd3, %r1, 4;
	add.s64 	%rd4, %rd1, %rd3;   // the table's entry
	@%p1 ld.global.b32 { %r2 }, [ %rd4 + 0 ];
	mad.wide.s32 	%rd5, %r2, 64, %rd2;
	mov.b64 	%rd6, %rd5;
	cp.async.cg.shared.global [ %r9 + 0 ], [ %rd6 + 0 ], 0x10, 0x10;
	@!%p1 ld.global.v2.b16 { %rs1, %rs2 }, [ %rd6 + 16 ];
	ld.shared.v4.b32 	{%r3, %r4, %r5, %r6}, [%r9];
"""


def test_loads_belong_to_arguments():
    assert ptx_loads(PTX) == {0: {32: 1}, 1: {128: 1, 32: 1}}
    assert weight_bits(PTX, ["table", "keys", "count"], ["table"]) == 32
    assert weight_bits(PTX.replace("v2.b16", "v4.b32"), ["table", "keys", "count"], ["keys"]) == 128


def test_what_cannot_be_traced_is_told():
    with pytest.raises(ValueError, match="expected loads of count"):
        weight_bits(PTX, ["table", "keys", "count"], ["count"])
    lost = PTX.replace("%rd6 + 16", "%rd9 + 16")
    with pytest.raises(ValueError, match="can be traced"):
        weight_bits(lost, ["table", "keys", "count"], ["keys"])


def test_most_bytes_decide():
    assert widest_share({128: 1, 32: 3}) == 128
    assert widest_share({128: 1, 16: 20}) == 16
    assert widest_share({}) == 0


def test_loads_on_amd():
    opcodes = {"global_load_dwordx4": 2, "buffer_load_b32": 1, "global_load_d16_hi_b16": 3, "ds_load_b128": 9}
    assert amd_loads(opcodes) == {128: 2, 32: 1, 16: 3}
