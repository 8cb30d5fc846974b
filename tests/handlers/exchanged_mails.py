"""Requests and results in the store as the exchange leaves them, for the tests of what operators see and do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from handlers.calendar import JST
from handlers.naccs.outputs import NO_REQUEST
from handlers.naccs.result_codes import result_code
from handlers.naccs.results import result_notification
from handlers.terminals import Binding
from storage.batch import take_sequences
from storage.mail_queue import hash_of
from storage.models import Attempt, Mail, MailContent, Recipient, Request
from storage.states import Direction, State
from storage.store import Store, new_key
from tests.handlers.naccs.sound_request import ADDRESS, RECEIVED_AT, request_with

CENTER = "NACCS@SMTP.CENTER.EXAMPLE"
BACKEND = "BACKEND@SMTP.CENTER.EXAMPLE"
LIFE = timedelta(seconds=120)


def add_mail(session: Session, now: datetime, content: bytes = b"x: y\r\n\r\nz\r\n", **values: Any) -> Mail:
    """A mail with its bytes."""
    made: dict[str, Any] = {"direction": Direction.INBOUND, "listener": "naccs", "mail_from": CENTER, **values}
    mail = Mail(id=new_key(session), received_at=now, size=len(content), content_hash=hash_of(content), **made)
    session.add(mail)
    session.flush()
    session.add(MailContent(mail_id=mail.id, content=content))
    return mail


def add_recipient(session: Session, mail: Mail, now: datetime, **values: Any) -> Recipient:
    """A recipient of it: outbound and at the end of its lane where a lane is given."""
    lane = values.get("lane")
    placed: dict[str, Any] = {"direction": Direction.INBOUND, "state": State.RECEIVED, "rcpt_to": CENTER}
    if lane is not None:
        sequence = take_sequences(session.connection(), {lane: 1})[lane]
        placed = {"direction": Direction.OUTBOUND, "state": State.QUEUED, "rcpt_to": BACKEND, "lane_sequence": sequence}
    row = Recipient(
        **{"id": new_key(session), "mail_id": mail.id, "created_at": now, "due_at": now, "waiting_since": now}
        | placed
        | values
    )
    session.add(row)
    session.flush()
    return row


def request(store: Store, binding: Binding, now: datetime, handover: str = "H1", **values: Any) -> Request:
    """A request that was handled and stands in the backend's lane; `values` are of its row. Returns the row."""

    def work(session: Session) -> Request:
        bound: dict[str, Any] = {"address_id": binding.address_id, "map_version": 1}
        mail = add_mail(session, now, mail_from=binding.address, peer=str(binding.ip), **bound)
        asked = add_recipient(session, mail, now, state=State.HANDLED, finished_at=now, **bound)
        add_recipient(session, mail, now, lane="backend", sender=binding.address, request_id=asked.id, **bound)
        row = Request(
            **{
                "id": asked.id,
                "address_id": binding.address_id,
                "procedure": "OTA",
                "handover": handover,
                "input_number": "N1",
                "received_at": now,
                "outstanding_until": now + LIFE,
                **values,
            }
        )
        session.add(row)
        return row

    return store.run(work)


def result(
    store: Store, binding: Binding, now: datetime, asked: Request | None, content: bytes = b"x: y\r\n\r\nz\r\n"
) -> int:
    """A result of the backend that was passed on to the terminal, for a request or for none; its mail's id."""
    request_id = None if asked is None else asked.id

    def work(session: Session) -> int:
        mail = add_mail(session, now, content, listener="backend", mail_from=BACKEND)
        came = {"rcpt_to": binding.address, "address_id": binding.address_id, "request_id": request_id}
        note = NO_REQUEST if asked is None else ""
        add_recipient(session, mail, now, state=State.HANDLED, finished_at=now, last_reply=note, **came)
        add_recipient(session, mail, now, lane=binding.lane, sender=CENTER, **came)
        if asked is not None:
            answered = update(Request).where(Request.id == asked.id)
            session.execute(answered.values(answered_at=now, result_mail_id=mail.id))
        return mail.id

    return store.run(work)


def result_mail(code: str) -> bytes:
    """The bytes of a result notification with one code."""
    items, at = request_with().items, RECEIVED_AT.astimezone(JST)
    message = result_notification(items, [result_code(code)], address=ADDRESS, received_at_jst=at)
    return b"From:BACKEND@SMTP.CENTER.EXAMPLE\r\nContent-Transfer-Encoding:8bit\r\n\r\n" + message


def outbound(store: Store, mail_id: int) -> Recipient:
    """The outbound recipient of a mail, the latest where there are several."""
    query = select(Recipient).where(Recipient.mail_id == mail_id, Recipient.direction == Direction.OUTBOUND)
    return store.read(lambda session: session.scalars(query.order_by(Recipient.id)).all()[-1])


def mail_of(store: Store, asked: Request) -> int:
    """The mail of a request."""
    query = select(Recipient.mail_id).where(Recipient.id == asked.id)
    return store.read(lambda session: session.scalars(query).one())


def set_outbound(store: Store, mail_id: int, **values: Any) -> int:
    """Change the outbound recipient of a mail as its lane would; its id."""
    row = outbound(store, mail_id)
    store.run(lambda session: session.execute(update(Recipient).where(Recipient.id == row.id).values(**values)))
    return row.id


def tried(store: Store, recipient_id: int, now: datetime, reply: str, outcome: str = "temporary") -> None:
    """A try that was no plain success."""
    store.run(
        lambda session: session.add(
            Attempt(
                id=new_key(session),
                recipient_id=recipient_id,
                attempted_at=now,
                outcome=outcome,
                stage="dot",
                reply=reply,
            )
        )
    )
