"""TCC, communication check (通信確認): a request that arrived sound has shown what it was sent to show.

Its items are not checked and not sent back: the official item list is not public, and known clients read only
the result codes.
"""

from __future__ import annotations

from datetime import datetime

from handlers.naccs.message import Request
from handlers.naccs.result_codes import NORMAL_END
from handlers.naccs.results import result_notification

PROCEDURE_CODE = "TCC"


def answer(request: Request, *, address: str, received_at_jst: datetime, terminal: str, codec: str) -> bytes:
    """The normal result, 477 bytes."""
    return result_notification(
        request.items,
        [NORMAL_END],
        address=address,
        received_at_jst=received_at_jst,
        terminal=terminal,
        codec=codec,
    )
