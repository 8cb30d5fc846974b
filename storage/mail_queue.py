"""The queue's verbs: what enters, what waits, what leaves.

`arrival` builds effects for the hot path; the functions of a session serve units of work and reads. A mail's bytes are
stored with the password blanked; `restore` puts it back for the hand-over while the request is not final.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from storage.batch import insert_statement, take_sequences
from storage.columns import to_micros
from storage.effects import (
    AUDIT,
    CONTENT,
    MAIL,
    QUEUED_RECIPIENT,
    RECIPIENT,
    RECIPIENT_HANDLED,
    Change,
    Enqueue,
    Insert,
    NewRecipient,
    Note,
    Unit,
)
from storage.models import Mail, MailContent, Recipient, Request
from storage.states import Direction, State
from storage.store import new_key

NOTICE_LANES = "smarthost:"  # what the name of a lane of notices begins with
_inbound = aliased(Recipient)
_NEVER = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Bytes cut out of a mail's content and kept beside it: `content` is what is stored."""

    content: bytes
    offset: int
    original: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An accepted mail, one recipient of it, as the worker takes it up. `content` is as received."""

    recipient_id: int
    mail_id: int
    listener: str
    peer: str
    helo_name: str
    mail_from: str
    rcpt_to: str
    received_at: datetime
    content: bytes
    content_hash: bytes
    order_key: str
    map_version: int | None = None
    address_id: int | None = None
    damage: str = ""
    handler_failures: int = 0
    signed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """A recipient at its place in a lane, as delivery takes it up; `content` None is read when needed."""

    recipient_id: int
    mail_id: int
    lane: str
    sequence: int
    sender: str
    rcpt_to: str
    created_at: datetime
    due_at: datetime
    waiting_since: datetime  # what its life is counted from
    header: bytes | None
    body_offset: int
    attempts: int
    in_doubt: int
    address_id: int | None
    output_code: str = ""
    map_version: int | None = None
    request_id: int | None = None
    content: bytes | None = None

    def wire_bytes(self, content: bytes) -> bytes:
        """What goes over the wire: the mail, or its body under a header block of its own."""
        return content if self.header is None else self.header + content[self.body_offset :]


def hash_of(content: bytes) -> bytes:
    """SHA-256 of a mail's bytes."""
    return hashlib.sha256(content).digest()


def restore(content: bytes, secret: bytes | None, offset: int | None) -> bytes:
    """The bytes as received, from what is stored and what was cut out."""
    if secret is None or offset is None:
        return content
    return content[:offset] + secret + content[offset + len(secret) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a mail comes from: the listener or part of the gateway, the peer, and what it was bound to."""

    listener: str
    peer: str = ""
    helo_name: str = ""
    mail_from: str
    message_id: str = ""
    map_version: int | None = None
    address_id: int | None = None
    damage: str = ""
    template: str = ""
    application_id: int | None = None
    signed_by: str = ""  # domains of DKIM signatures that held, by a space


def mail_inserts(
    mail_id: int,
    direction: Direction,
    origin: Origin,
    content: bytes,
    content_hash: bytes,
    secret: Secret | None,
    now: datetime,
) -> tuple[Insert, Insert]:
    """The rows of a mail and of its bytes."""
    mail = Insert(
        MAIL,
        (
            mail_id,
            str(direction),
            origin.listener,
            origin.mail_from,
            origin.peer,
            origin.helo_name,
            to_micros(now),
            len(content),
            content_hash,
            origin.message_id,
            origin.map_version,
            origin.address_id,
            origin.damage,
            None if secret is None else secret.original,
            None if secret is None else secret.offset,
            origin.template,
            origin.application_id,
            origin.signed_by,
        ),
    )
    stored = content if secret is None else secret.content
    return mail, Insert(CONTENT, (mail_id, stored))


def arrival(
    key: Callable[[], int],
    origin: Origin,
    recipients: list[tuple[str, str]],
    content: bytes,
    now: datetime,
    secret: Secret | None = None,
    *,
    address_ids: Sequence[int | None] = (),
) -> tuple[int, Unit]:
    """The unit that accepts a mail for (rcpt_to, order key) pairs, and the mail's id.

    `address_ids`: the address row each recipient is bound to, where that is not the mail's own. Once it is
    committed, subscribers of `arrived` get an Arrival for each recipient.
    """
    mail_id = key()
    digest = hash_of(content)
    inserts = list(mail_inserts(mail_id, Direction.INBOUND, origin, content, digest, secret, now))
    notes = []
    micros = to_micros(now)
    for place, (rcpt_to, order_key) in enumerate(recipients):
        recipient = NewRecipient(
            id=key(),
            mail_id=mail_id,
            direction=Direction.INBOUND,
            rcpt_to=rcpt_to,
            state=State.RECEIVED,
            created_at=micros,
            due_at=micros,
            order_key=order_key,
            address_id=address_ids[place] if address_ids else origin.address_id,
            map_version=origin.map_version,
        )
        inserts.append(Insert(RECIPIENT, recipient.values()))
        notes.append(Note("arrived", _arrived(recipient, origin, content, digest, now)))
    return mail_id, Unit(inserts=tuple(inserts), size=len(content), notes=tuple(notes))


def _arrived(recipient: NewRecipient, origin: Origin, content: bytes, digest: bytes, now: datetime) -> Arrival:
    return Arrival(
        recipient_id=recipient.id,
        mail_id=recipient.mail_id,
        listener=origin.listener,
        peer=origin.peer,
        helo_name=origin.helo_name,
        mail_from=origin.mail_from,
        rcpt_to=recipient.rcpt_to,
        received_at=now,
        content=content,
        content_hash=digest,
        order_key=recipient.order_key,
        map_version=origin.map_version,
        address_id=recipient.address_id,
        damage=origin.damage,
        signed_by=origin.signed_by,
    )


def handled(arrival: Arrival, state: State, now: datetime, note: str, *, repeat_window: float = 0) -> Change:
    """The change that moves an inbound recipient out of `received`.

    It does not fit a repeat: the same mail within `repeat_window` seconds after one whose session ended unclean.
    With 0 no repeat is looked for.
    """
    repeat_after = to_micros(arrival.received_at) - int(repeat_window * 1_000_000) if repeat_window > 0 else _NEVER
    values = (arrival.recipient_id, str(state), to_micros(now), note, arrival.content_hash, repeat_after)
    return Change(RECIPIENT_HANDLED, values)


def enqueue(
    session: Session,
    origin: Origin,
    lane: str,
    sender: str,
    rcpt_to: str,
    content: bytes,
    now: datetime,
    *,
    mail_id: int | None = None,
) -> int:
    """Queue a mail of our own from a unit of work; returns the mail's id.

    `mail_id` may be given where the bytes already name it (bounce address, Message-ID).
    """
    connection = session.connection()
    identity = new_key(session) if mail_id is None else mail_id
    micros = to_micros(now)
    for insert in mail_inserts(identity, Direction.OUTBOUND, origin, content, hash_of(content), None, now):
        connection.exec_driver_sql(insert_statement(insert.kind, 1, connection.dialect.name), insert.values)
    recipient = NewRecipient(
        id=new_key(session),
        mail_id=identity,
        direction=Direction.OUTBOUND,
        rcpt_to=rcpt_to,
        state=State.QUEUED,
        created_at=micros,
        due_at=micros,
        sender=sender,
        map_version=origin.map_version,
    )
    sequence = take_sequences(connection, {lane: 1})[lane]
    connection.exec_driver_sql(
        insert_statement(QUEUED_RECIPIENT, 1, connection.dialect.name),
        (*recipient.values(), lane, sequence),
    )
    session.info["queued"].append((Enqueue(lane, recipient, content), sequence))
    return identity


def waiting_inbound(session: Session, limit: int) -> list[tuple[int, str, datetime]]:
    """(recipient id, order key, due at) of inbound recipients not handled yet, oldest first, deferred ones too.

    A deferred recipient keeps its key's later ones waiting, so it is listed before it is due.
    """
    rows = session.execute(
        select(Recipient.id, Recipient.order_key, Recipient.due_at)
        .where(Recipient.state == State.RECEIVED)
        .order_by(Recipient.id)
        .limit(limit)
    )
    return [(row.id, row.order_key, row.due_at) for row in rows]


def load_arrival(session: Session, recipient_id: int) -> Arrival | None:
    """An inbound recipient as the worker takes it up, its password restored; None when it is not `received`."""
    row = session.execute(
        select(Recipient, Mail, MailContent.content)
        .join(Mail, Mail.id == Recipient.mail_id)
        .join(MailContent, MailContent.mail_id == Mail.id)
        .where(Recipient.id == recipient_id, Recipient.state == State.RECEIVED)
    ).first()
    if row is None:
        return None
    recipient, mail, content = row
    return Arrival(
        recipient_id=recipient.id,
        mail_id=mail.id,
        listener=mail.listener,
        peer=mail.peer,
        helo_name=mail.helo_name,
        mail_from=mail.mail_from,
        rcpt_to=recipient.rcpt_to,
        received_at=mail.received_at,
        content=restore(content, mail.secret, mail.secret_offset),
        content_hash=mail.content_hash,
        order_key=recipient.order_key,
        map_version=recipient.map_version,
        address_id=recipient.address_id,
        damage=mail.damage,
        signed_by=mail.signed_by,
        handler_failures=recipient.handler_failures,
    )


def queued_in_lane(session: Session, lane: str, after: int, limit: int) -> list[Outbound]:
    """The queued recipients of a lane behind sequence `after`, in order, without their bytes."""
    rows = session.scalars(
        select(Recipient)
        .where(Recipient.lane == lane, Recipient.state == State.QUEUED, Recipient.lane_sequence > after)
        .order_by(Recipient.lane_sequence)
        .limit(limit)
    )
    return [_outbound(row, lane, None) for row in rows]


def _outbound(row: Recipient, lane: str, content: bytes | None) -> Outbound:
    return Outbound(
        recipient_id=row.id,
        mail_id=row.mail_id,
        lane=lane,
        sequence=row.lane_sequence or 0,
        sender=row.sender,
        rcpt_to=row.rcpt_to,
        created_at=row.created_at,
        due_at=row.due_at,
        waiting_since=row.waiting_since,
        header=row.header,
        body_offset=row.body_offset,
        attempts=row.attempts,
        in_doubt=row.in_doubt,
        address_id=row.address_id,
        output_code=row.output_code,
        map_version=row.map_version,
        request_id=row.request_id,
        content=content,
    )


def content_of(session: Session, mail_id: int, *, unmasked: bool = False) -> bytes:
    """A mail's bytes; passwords stay blanked unless they are needed for the hand-over."""
    row = session.execute(
        select(MailContent.content, Mail.secret, Mail.secret_offset)
        .join(Mail, Mail.id == MailContent.mail_id)
        .where(MailContent.mail_id == mail_id)
    ).one()
    return restore(row.content, row.secret, row.secret_offset) if unmasked else bytes(row.content)


def lanes_with_queued(session: Session) -> list[str]:
    """The lanes in which something waits."""
    return list(session.scalars(select(Recipient.lane).where(Recipient.state == State.QUEUED).distinct()))


def is_repeat(session: Session, arrival: Arrival, since: datetime) -> bool:
    """Whether an earlier mail makes this one a repeat, by the rule that `RECIPIENT_HANDLED` decides by."""
    earlier = aliased(Mail)
    found = session.scalar(
        select(earlier.id)
        .join(_inbound, _inbound.mail_id == earlier.id)
        .where(
            earlier.content_hash == arrival.content_hash,
            earlier.unclean_end_at.is_not(None),
            earlier.received_at >= since,
            earlier.listener == arrival.listener,
            earlier.mail_from == arrival.mail_from,
            earlier.id < arrival.mail_id,
            _inbound.direction == Direction.INBOUND,
            _inbound.rcpt_to == arrival.rcpt_to,
        )
        .limit(1)
    )
    return found is not None


def result_of_earlier(session: Session, arrival: Arrival, since: datetime) -> Outbound | None:
    """The result of the first arrival of a repeated mail, if there is one yet, with its bytes.

    The first one came at `since` or later; of a result with several recipients only the requester's copy counts.
    """
    earlier = aliased(Mail)
    row = session.execute(
        select(Recipient)
        .join(Request, Request.result_mail_id == Recipient.mail_id)
        .join(earlier, earlier.content_hash == arrival.content_hash)
        .where(
            Recipient.direction == Direction.OUTBOUND,
            Recipient.address_id == Request.address_id,
            earlier.listener == arrival.listener,
            earlier.received_at >= since,
            earlier.unclean_end_at.is_not(None),
            earlier.mail_from == arrival.mail_from,
            earlier.id < arrival.mail_id,
            Request.id.in_(select(_inbound.id).where(_inbound.mail_id == earlier.id)),
        )
        .order_by(Recipient.id.desc())
        .limit(1)
    ).scalar()
    if row is None or row.lane is None:
        return None
    return _outbound(row, row.lane, content_of(session, row.mail_id))


def recipient_again(identity: int, sent: Outbound | Recipient, lane: str, micros: int) -> NewRecipient:
    """An outbound recipient that is sent once more, under the bytes it had.

    But for a notice: its signature may have run out, and a new one is made when it leaves.
    """
    is_notice = lane.startswith(NOTICE_LANES)
    return NewRecipient(
        id=identity,
        mail_id=sent.mail_id,
        direction=Direction.OUTBOUND,
        rcpt_to=sent.rcpt_to,
        state=State.QUEUED,
        created_at=micros,
        due_at=micros,
        sender=sent.sender,
        header=None if is_notice else sent.header,
        body_offset=0 if is_notice else sent.body_offset,
        address_id=sent.address_id,
        output_code=sent.output_code,
        map_version=sent.map_version,
        request_id=sent.request_id,
    )


def resend(key: Callable[[], int], unit: Unit, result: Outbound, arrival: Arrival, now: datetime) -> Unit:
    """`unit` with the result queued once more, under the bytes it had the first time, and the resend recorded."""
    micros = to_micros(now)
    recipient = recipient_again(key(), result, result.lane, micros)
    detail = f"the same mail came again as {arrival.mail_id}"
    event = Insert(AUDIT, (key(), micros, "gateway", "result-resent", f"mail:{result.mail_id}", detail))
    return replace(
        unit,
        inserts=(*unit.inserts, event),
        queued=(*unit.queued, Enqueue(result.lane, recipient, result.content)),
    )
