"""How often something is tried that may only have failed for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from qwen3edge.errors import HubError
from qwen3edge.hub.repository import InterruptedTransfer

T = TypeVar("T")

ATTEMPTS = 6
"""Without any progress: some 8 seconds of waiting, or what the server asks for."""
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 60.0  # seconds


class Patience:
    """Counts failures, and waits longer after each."""

    def __init__(self) -> None:
        self._failures = 0

    def progressed(self) -> None:
        """Something came."""
        self._failures = 0

    def wait(self, error: InterruptedTransfer) -> None:
        """Until it is worth a try. Raises HubError when there were enough."""
        self._failures += 1
        if self._failures == ATTEMPTS:
            raise HubError(f"{error} ({ATTEMPTS} attempts); what has come is kept, and the same pull goes on with it")
        wanted = _FIRST_WAIT * 2 ** (self._failures - 1) if error.seconds is None else error.seconds
        time.sleep(min(wanted, _LONGEST_WAIT))


def patiently(call: Callable[[], T]) -> T:
    """What it returns, tried again where it is interrupted. Raises HubError."""
    patience = Patience()
    while True:
        try:
            return call()
        except InterruptedTransfer as error:
            patience.wait(error)
