"""Procedures which the gateway answers itself, by procedure code. All others go to the backend.

SYG is the gateway's too, but works on the store: see `syg`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from handlers.naccs.message import Request
from handlers.naccs.procedures import tcc


class Answer(Protocol):
    """The whole answer to a request that passed every check."""

    def __call__(
        self, request: Request, *, address: str, received_at_jst: datetime, terminal: str, codec: str
    ) -> bytes: ...


ANSWERED_HERE: Mapping[str, Answer] = {tcc.PROCEDURE_CODE: tcc.answer}

# A terminal that sends one of these is there: its server is tried at once. They neither wait nor count as outstanding.
HEARD = frozenset({tcc.PROCEDURE_CODE, "SYG"})
