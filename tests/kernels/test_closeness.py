"""The metric can fail."""

import pytest
import torch

from tests.kernels.closeness import MAX_ERROR, assert_close, errors


def test_nan_never_passes():
    x = torch.ones(4)
    for bad in (x * float("nan"), torch.tensor([1, 1, 1, float("nan")])):
        for pair in ((x, bad), (bad, x), (bad, bad)):
            with pytest.raises(AssertionError):
                assert_close(*pair)


def test_infinity():
    found, expected = torch.tensor([1, float("inf")]), torch.tensor([1.0, 2.0])
    for pair in ((found, expected), (found, -found)):
        with pytest.raises(AssertionError):
            assert_close(*pair)


def test_relative_to_the_larger_of_rms_and_value():
    expected = torch.tensor([3.0, 4.0, 0.0, 0.0])  # rms 2.5
    largest, rms = errors(expected + torch.tensor([0, 0.04, 0, 0.05]), expected)
    assert largest == pytest.approx(0.02, rel=1e-5)
    assert rms == pytest.approx(((0.01**2 + 0.02**2) / 4) ** 0.5, rel=1e-5)
    with pytest.raises(AssertionError):
        assert_close(expected + torch.tensor([0, 0, 0, 2.5 * MAX_ERROR * 1.01]), expected)
    with pytest.raises(AssertionError):  # every value off by less than the largest error, but too many of them
        assert_close(expected * 1.005 + 0.01, expected)


def test_shapes_must_agree():
    with pytest.raises(AssertionError):
        assert_close(torch.ones(2), torch.ones(1))
    assert_close(torch.ones(0), torch.ones(0))
