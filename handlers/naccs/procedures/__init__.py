"""Procedures which the gateway answers itself, by procedure code. All others go to the backend."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from handlers.naccs.message import Request
from handlers.naccs.procedures import tcc


class Answer(Protocol):
    """The whole answer to a request that passed every check."""

    def __call__(self, request: Request, *, address: str, received_at_jst: datetime) -> bytes: ...


ANSWERED_HERE: Mapping[str, Answer] = {tcc.PROCEDURE_CODE: tcc.answer}
