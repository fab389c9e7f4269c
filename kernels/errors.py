"""What a launcher raises before anything runs: the message says what was expected and what was found."""

from __future__ import annotations


class KernelError(Exception):
    """Base of the errors of this package."""


class KernelTypeError(KernelError, TypeError):
    """A tensor has another dtype or lies on another device than the kernel takes."""


class KernelShapeError(KernelError, ValueError):
    """A tensor has another shape or other strides than the kernel takes."""


class KernelConfigurationError(KernelError, ValueError):
    """A tile does not fit the format or the device: BLOCK_K above the group, an unknown target."""
