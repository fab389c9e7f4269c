"""What a model is loaded with: one list, whose names, defaults and checks are those of `load` and `plan`."""

import inspect
import typing

import pytest

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.settings import DEFAULTS, Settings, checked

CORES = 4


def core(asked, trained_context=2048):
    return checked(asked, trained_context=trained_context, cores=CORES).core


@pytest.mark.parametrize(
    "asked",
    [
        {"context": 0}, {"context": 2049}, {"context": -1}, {"context": 1.5}, {"context": True}, {"context": 10**30},
        {"threads": 0}, {"threads": 257}, {"sequences": 0}, {"chunk": 0}, {"kv": "int2"}, {"kv": None},
        {"memory": "lots"}, {"min_expert_share": 1.0}, {"min_expert_share": -0.1}, {"min_expert_share": float("nan")},
        {"min_expert_share": "0.1"}, {"min_expert_share": True}, {"io_uring": 1}, {"verify": None}, {"texts": 0},
        {"device": "tpu"}, {"seed": -1}, {"seed": 2**64}, {"program": 0}, {"activation_bits": 16},
        {"activation_bits": 4},
    ],
)  # fmt: skip
def test_settings_out_of_range(asked):
    (name,) = asked
    with pytest.raises(RequestError, match=name):
        core(asked)


def test_what_the_core_is_told():
    assert core({})["context"] == 2048
    assert core({}, 40960)["context"] == 4096
    assert core({"context": 40960, "memory": "1MiB"}, 40960) == {
        "context": 40960, "sequences": 1, "draft_tokens": 0, "threads": 0, "kv": "int8", "memory": 1 << 20, "chunk": 0,
        "program": 0, "later": 0, "min_expert_share": 0.0, "io_uring": True,
    }  # fmt: skip
    assert core({"memory": "auto"}) == core({"context": "auto"}) == core({})
    assert core({"program": 7 << 20})["program"] == 7 << 20
    assert core({"threads": CORES + 7})["threads"] == CORES
    assert core({"threads": 1})["threads"] == 1


def test_what_is_for_python():
    found = checked({"device": "cuda:1", "activation_bits": 8, "seed": 5}, trained_context=64, cores=1)
    assert (found.device, found.int8, found.seed, found.texts, found.verify) == ("cuda:1", True, 5, True, False)
    assert not checked({"device": "cuda"}, trained_context=64, cores=1).int8
    assert checked({"context": "auto"}, trained_context=64, cores=1).longest_context
    assert not checked({"context": 64}, trained_context=64, cores=1).longest_context
    with pytest.raises(RequestError, match="texts=True"):
        checked({"texts": False, "chat_template": "{{ messages }}"}, trained_context=64, cores=1)


@pytest.mark.parametrize("call", [qwen3edge.load, qwen3edge.plan])
def test_every_setting_is_shown(call):
    """By `help`, by editors, and with a line of what it means and its unit."""
    parameters = dict(inspect.signature(call).parameters)
    assert next(iter(parameters)) == "path" and parameters.pop("path").default is inspect.Parameter.empty
    assert {name: found.default for name, found in parameters.items()} == DEFAULTS
    assert list(DEFAULTS) == list(typing.get_type_hints(Settings))
    assert inspect.getdoc(call).startswith(("Loads a", "What `load`"))
    assert all(f"\n{name}: " in inspect.getdoc(call) for name in DEFAULTS)


@pytest.mark.parametrize("call", [qwen3edge.load, qwen3edge.plan])
def test_an_unknown_setting_is_a_type_error_that_names_the_nearest(call):
    """Before the file is looked at."""
    with pytest.raises(TypeError, match=rf"^{call.__name__}\(\) got an unexpected keyword argument 'contxt'. Did you"):
        call("absent.q3e", contxt=64)
    with pytest.raises(TypeError, match="Did you mean 'min_expert_share'"):
        call("absent.q3e", min_experts_share=0.1)
    with pytest.raises(TypeError, match=r"argument 'qqq'$"):
        call("absent.q3e", qqq=1)
