"""Messages in the lanes of the sample office's terminals, delivered, waiting or given up, as the tests need them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from handlers.terminals import Binding, load
from storage.columns import to_micros
from storage.committer import Committer
from storage.effects import Applied, Enqueue, NewRecipient, Unit
from storage.mail_queue import Origin, hash_of, mail_inserts
from storage.models import Lane, LanePause, Recipient
from storage.states import Direction, State
from storage.store import Store, new_key
from tests.handlers.test_terminals import KEY, TODAY

CENTER = "NACCS@SMTP.CENTER.EXAMPLE"


def bound(store: Store, key: str = KEY, today: date = TODAY) -> Binding:
    """The binding of an address."""
    found = store.read(load).binding(key, today)
    assert found is not None
    return found


def put(
    store: Store,
    binding: Binding,
    output_code: str,
    now: datetime,
    *,
    content: bytes = b"x: y\r\n\r\nz\r\n",
    lane: str | None = None,
    **more: Any,
) -> int:
    """Queue a message for the terminal; its mail's id."""
    mail_id = store.new_key()
    recipient = NewRecipient(
        id=store.new_key(),
        mail_id=mail_id,
        direction=Direction.OUTBOUND,
        rcpt_to=binding.address,
        state=State.QUEUED,
        created_at=to_micros(now),
        due_at=to_micros(now),
        sender=CENTER,
        address_id=binding.address_id,
        output_code=output_code,
        **more,
    )
    origin = Origin(listener="gateway", mail_from=CENTER)
    rows = mail_inserts(mail_id, Direction.OUTBOUND, origin, content, hash_of(content), None, now)
    unit = Unit(inserts=rows, queued=(Enqueue(lane or binding.lane, recipient),))
    (outcome,) = Committer(store).commit([unit])
    assert isinstance(outcome, Applied), outcome
    return mail_id


def change(store: Store, mail_id: int, **values: Any) -> None:
    """Change the recipient of a mail as its lane would."""
    store.run(lambda session: session.execute(update(Recipient).where(Recipient.mail_id == mail_id).values(**values)))


def give_up(store: Store, binding: Binding, output_code: str, now: datetime, **options: Any) -> int:
    """A message that was tried once and given up at `now`; its mail's id."""
    mail_id = put(store, binding, output_code, now, **options)
    change(store, mail_id, state=State.UNDELIVERED, finished_at=now, attempts=1, last_reply="450 4.2.0 full")
    return mail_id


def set_lane(store: Store, lane: str, **values: Any) -> None:
    """Change a lane's row; without values it is only made."""

    def work(session: Session) -> None:
        if session.get(Lane, lane) is None:
            session.add(Lane(lane=lane))
            session.flush()
        if values:
            session.execute(update(Lane).where(Lane.lane == lane).values(**values))

    store.run(work)


def pause(store: Store, lane: str, now: datetime, **values: Any) -> None:
    """A time in which the lane is paused, open unless it is given an end."""
    store.run(
        lambda session: session.add(
            LanePause(id=new_key(session), lane=lane, paused_at=now, actor="os:op", reason="works", **values)
        )
    )


def row_of(store: Store, mail_id: int) -> Recipient:
    """The recipient of a mail."""
    query = select(Recipient).where(Recipient.mail_id == mail_id)
    return store.read(lambda session: session.scalars(query).one())


def in_lane(store: Store, lane: str) -> list[int]:
    """The mails queued in a lane, in order."""
    query = select(Recipient.mail_id).where(Recipient.lane == lane, Recipient.state == State.QUEUED)
    return store.read(lambda session: list(session.scalars(query.order_by(Recipient.lane_sequence))))
