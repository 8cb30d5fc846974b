"""Running the hooks of a policy: in place up to the first wait, and our own failures as temporary replies."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any

from gateway import smtp_replies as replies
from gateway.smtp_replies import Reply

log = logging.getLogger(__name__)


class _Started:
    """A coroutine that was run to its first wait, to be awaited for the rest."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waiting: Any) -> None:
        self._coroutine = coroutine
        self._waiting = waiting

    def __await__(self) -> Generator[Any, Any, None]:
        waiting = self._waiting
        while True:
            try:
                sent = yield waiting
            except BaseException as error:  # noqa: BLE001 - the coroutine decides about every one
                resume = partial(self._coroutine.throw, error)
            else:
                resume = partial(self._coroutine.send, sent)
            try:
                waiting = resume()
            except StopIteration:
                return


async def finish(coroutine: Coroutine[Any, Any, None], waiting: Any) -> None:
    """The rest of a coroutine whose first `send` gave `waiting`."""
    await _Started(coroutine, waiting)


def checked(reply: object) -> Reply:
    """The reply of a hook. Raises TypeError when it is none."""
    if not isinstance(reply, Reply):
        raise TypeError(f"a hook returned {type(reply).__name__} in place of a Reply")
    return reply


def incident(error: BaseException) -> Reply:
    """Log our own failure under a fresh id, and give the 451 that names this id and nothing else."""
    incident_id = secrets.token_hex(4)
    log.error("incident %s in an SMTP session", incident_id, exc_info=error)
    return replies.incident(incident_id)
