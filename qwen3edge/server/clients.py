"""Clients that leave: what is done for them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from qwen3edge.server.errors import ClientLeftError

Result = TypeVar("Result")


async def disconnected(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the work, which is cancelled when the client leaves: ClientLeftError then. receive: of a request
    whose body has been read.
    """
    left, task = asyncio.ensure_future(disconnected(receive)), asyncio.ensure_future(work)
    try:
        await asyncio.wait((left, task), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeftError("the client left")
        return task.result()
    finally:
        left.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
