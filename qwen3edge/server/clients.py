"""Clients that leave: what is done for them ends, at once or when it can."""

from __future__ import annotations

import asyncio
import contextlib
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


async def to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of work that does not stop halfway, such as a thread's with a file. Who is cancelled meanwhile waits
    for its end as well: a lock or a model that it needs must stay.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):  # once more
                await asyncio.wait((task,))
        raise
