"""SYG, retrieval of undelivered messages (障害電文取出し): the list, and the fetch of one kind (NACCS EDI 9).

Both work on the mail-address row the request came from. The list is an inquiry result under an output information
code of its own; a fetch puts the messages back into the terminal's lane, where they go out as they were. Whether a
notification of the fetch goes with them is not public, so it is a setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from handlers import undelivered
from handlers.calendar import JST
from handlers.naccs.common_items import CRLF
from handlers.naccs.fields import AN_LINE, NLEN, FieldError
from handlers.naccs.message import Request
from handlers.naccs.result_codes import NORMAL_END, result_code
from handlers.naccs.results import inquiry_result, result_notification
from handlers.terminals import Binding
from handlers.undelivered import StuckKind
from storage.mail_queue import Arrival

PROCEDURE_CODE = "SYG"
LIST = "REF"  # in place of an output information code: what is there?
_CODE_WIDTH = 7
_NUMBER_WIDTH = 4
_HIGHEST = 10**_NUMBER_WIDTH - 1
_WRONG_INPUT = result_code("E0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class SygSettings:
    """What SYG is told of the settings.

    `list_code` must not begin with an asterisk, or a known client does not see a list. `fetch_notice`: whether a
    fetch is answered by a notification of its own, `always`, `never`, or `when_empty`: when it moved nothing.
    Messages given up longer ago than `retention` are neither listed nor fetched.
    """

    list_code: str = "SYG0001"
    fetch_notice: str = "when_empty"
    retention: timedelta = timedelta(days=31)
    fill_terminal_name: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SygAnswer:
    """The message to answer with; None: the messages fetched are the answer. `note` says what was done."""

    answer: bytes | None
    note: str


def serve(
    session: Session, arrival: Arrival, request: Request, binding: Binding, settings: SygSettings, now: datetime
) -> SygAnswer:
    """Carry out a SYG that passed every check. Items that are not one code of seven bytes get E0001."""
    since = now - settings.retention
    code = _stated_code(request.data)
    if code is None:
        return SygAnswer(answer=_notice(_WRONG_INPUT, arrival, request, binding, settings), note=f"SYG {_WRONG_INPUT}")
    if code == LIST:
        kinds = undelivered.counts(session, [binding.address_id], since=since)
        told = f"SYG list: {sum(kind.count for kind in kinds)} messages of {len(kinds)} kinds"
        return SygAnswer(answer=_list(kinds, arrival, request, binding, settings), note=told)
    user = f"{request.items.user_code} {request.items.identification_number}"
    moved = undelivered.requeue(
        session,
        [binding.address_id],
        code,
        actor=f"terminal:{binding.terminal}",
        now=now,
        since=since,
        detail=f"by {user} in mail {arrival.mail_id}",
    )
    told = f"SYG {code}: {len(moved)} queued again"
    if settings.fetch_notice == "always" or (settings.fetch_notice == "when_empty" and not moved):
        return SygAnswer(answer=_notice(NORMAL_END, arrival, request, binding, settings), note=told)
    return SygAnswer(answer=None, note=told)


def _stated_code(data: bytes) -> str | None:
    """The one item without its filling; a blank one stands for messages without a code. None: not one code."""
    if len(data) != _CODE_WIDTH + len(CRLF) or not data.endswith(CRLF):
        return None
    try:
        return AN_LINE.decode(data[:_CODE_WIDTH]) or undelivered.NO_CODE
    except FieldError:
        return None


def _list(kinds: list[StuckKind], arrival: Arrival, request: Request, binding: Binding, settings: SygSettings) -> bytes:
    """情報数, then of each kind its code and how many; both numbers end at 9999, the width of their item."""
    listed = kinds[:_HIGHEST]
    items = [NLEN.encode(len(listed), _NUMBER_WIDTH)]
    for kind in listed:
        items.append(AN_LINE.encode(kind.output_code, _CODE_WIDTH))
        items.append(NLEN.encode(min(kind.count, _HIGHEST), _NUMBER_WIDTH))
    return inquiry_result(
        request.items,
        b"".join(item + CRLF for item in items),
        information=settings.list_code,
        address=binding.address,
        received_at_jst=arrival.received_at.astimezone(JST),
        terminal=_terminal(binding, settings),
        codec=binding.codec,
    )


def _notice(code: str, arrival: Arrival, request: Request, binding: Binding, settings: SygSettings) -> bytes:
    return result_notification(
        request.items,
        [code],
        address=binding.address,
        received_at_jst=arrival.received_at.astimezone(JST),
        terminal=_terminal(binding, settings),
        codec=binding.codec,
    )


def _terminal(binding: Binding, settings: SygSettings) -> str:
    return binding.terminal if settings.fill_terminal_name else ""
