"""Requests without a result, destinations that are down and messages given up, as the tests of watching need them."""

from __future__ import annotations

from datetime import datetime, timedelta
from email import message_from_bytes
from email.policy import default
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import request_watch
from storage.mail_queue import content_of
from storage.models import AuditEvent, Lane, Mail, MailAddress, Recipient, Request
from storage.states import Direction, State
from storage.store import Store, new_key
from tests.handlers.review_cases import DESK, WITH_SMTP_SERVER, take_contracts

LATE = timedelta(seconds=120)
OVERDUE = timedelta(seconds=180)
ALARM = timedelta(minutes=5)
LANE = "terminal:60777S"


def take_terminal(store: Store, now: datetime) -> None:
    """The sample office with the terminal 60777S and its address."""
    take_contracts(store, now, WITH_SMTP_SERVER)


def add_requests(store: Store, received: datetime, count: int = 1, **values: Any) -> list[int]:
    """Requests of the sample address, handed over a second after receipt unless said otherwise; their ids."""

    def work(session: Session) -> list[int]:
        address = session.scalar(select(MailAddress.id)) or 1
        ids = []
        for number in range(count):
            mail_id, request_id = new_key(session), new_key(session)
            ids.append(request_id)
            session.add(_mail(mail_id, Direction.INBOUND, received))
            session.add(_inbound(request_id, mail_id, received))
            session.add(
                Request(
                    **{
                        "id": request_id,
                        "address_id": address,
                        "procedure": "OTA01",
                        "handover": f"{number:05d}:01-24100000",
                        "input_number": "1",
                        "received_at": received,
                        "claimed_at": received + timedelta(seconds=1),
                        "outstanding_until": received + LATE,
                        **values,
                    }
                )
            )
        return ids

    return store.run(work)


def _mail(mail_id: int, direction: Direction, received: datetime) -> Mail:
    return Mail(
        id=mail_id, direction=direction, listener="naccs", mail_from="", received_at=received, size=0, content_hash=b""
    )


def _inbound(recipient_id: int, mail_id: int, received: datetime) -> Recipient:
    return Recipient(
        id=recipient_id,
        mail_id=mail_id,
        direction=Direction.INBOUND,
        rcpt_to="NACCS@SMTP.CENTER.EXAMPLE",
        state=State.HANDLED,
        created_at=received,
        due_at=received,
        waiting_since=received,
    )


def add_messages(store: Store, lane: str, count: int, now: datetime, state: State = State.UNDELIVERED) -> None:
    """Messages in a lane, given up at `now` unless said otherwise."""

    def work(session: Session) -> None:
        if session.get(Lane, lane) is None:
            session.add(Lane(lane=lane))
        mail_id = new_key(session)
        session.add(_mail(mail_id, Direction.OUTBOUND, now))
        session.add_all(
            Recipient(
                id=new_key(session),
                mail_id=mail_id,
                direction=Direction.OUTBOUND,
                rcpt_to="3A0001@SMTP.CT0001.CENTER.EXAMPLE",
                state=state,
                created_at=now,
                due_at=now,
                waiting_since=now,
                finished_at=now if state is not State.QUEUED else None,
                lane=lane,
                lane_sequence=number,
            )
            for number in range(count)
        )

    store.run(work)


def add_down(store: Store, lane: str, since: datetime | None, **values: Any) -> None:
    """A lane whose destination has been down since then; None: it is up."""
    row = Lane(lane=lane, down_since=since, failures=7, last_failure="Connection refused", **values)
    store.run(lambda session: session.add(row))


def change(store: Store, row: type[Any], key: object, **values: Any) -> None:
    """Write columns of a row."""

    def work(session: Session) -> None:
        found = session.get_one(row, key)
        for name, value in values.items():
            setattr(found, name, value)

    store.run(work)


def watch_once(store: Store, now: datetime, **options: Any) -> int:
    """One unit of work of the watch over requests."""
    return store.run(
        lambda session: request_watch.watch(session, DESK, now, late_after=LATE, overdue_after=OVERDUE, **options)
    )


def watch_out(store: Store, now: datetime, **options: Any) -> int:
    """Unit after unit until nothing is left; how many marks were made."""
    marked = 0
    while found := watch_once(store, now, **options):
        marked += found
    return marked


def is_due(store: Store, now: datetime, **options: Any) -> bool:
    """What the cheap look says."""
    return store.read(
        lambda session: request_watch.is_due(session, now, late_after=LATE, overdue_after=OVERDUE, **options)
    )


def request_of(store: Store, request_id: int) -> Request:
    """The row of a request."""
    return store.read(lambda session: session.get_one(Request, request_id))


def events(store: Store, name: str) -> list[str]:
    """The details of all events of a name, in order."""
    query = select(AuditEvent.detail).where(AuditEvent.event == name).order_by(AuditEvent.id)
    return store.read(lambda session: list(session.scalars(query)))


def texts(store: Store, template: str) -> list[str]:
    """The text of every operator's mail of a template, in order."""
    query = select(Mail.id).where(Mail.template.startswith(f"operator/{template}@")).order_by(Mail.id)
    raws = store.read(lambda session: [content_of(session, mail_id) for mail_id in session.scalars(query)])
    return [message_from_bytes(raw, policy=default).get_content().replace("\r\n", "\n") for raw in raws]
