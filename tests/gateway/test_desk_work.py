"""The worker's way into the application desk: one unit of work per mail (semantics §1, §9, §12)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway.desk_work import DeskWork
from handlers import case_tokens
from handlers.documents import DocumentRequest
from handlers.notice_mail import NoticePart
from storage.committer import Committer
from storage.effects import Applied
from storage.mail_queue import Arrival, Origin, arrival, load_arrival
from storage.models import Application, Recipient
from storage.store import Store
from tests.gateway.test_health import only_sqlite
from tests.handlers.applications.application_mails import mail_with
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT, numbered, wrong_mail
from tests.handlers.review_cases import DESK, notices_sent, receive, take_contracts

TRUSTED = "192.0.2.7"
WORK = DeskWork(DESK, (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))
APPLY = "apply@nss.center.example"


def put(store: Store, now: datetime, raw: bytes | None = None, *, peer: str = TRUSTED, rcpt_to: str = APPLY) -> Arrival:
    """A committed mail of the public listener, as the worker reads it."""
    origin = Origin(listener="public", peer=peer, helo_name="pc", mail_from=CONTACT)
    content = mail_with() if raw is None else raw
    _, unit = arrival(store.new_key, origin, [(rcpt_to, f"public:{CONTACT}")], content, now)
    assert Committer(store).commit([unit]) == [Applied()]
    recipient_id = unit.notes[0].payload.recipient_id
    found = store.read(lambda session: load_arrival(session, recipient_id))
    assert found is not None
    return found


def handle(store: Store, now: datetime, **mail: Any) -> tuple[str, Recipient]:
    """What is said of a mail and what its row then holds."""
    arrived = put(store, now, **mail)
    said = store.run(lambda session: WORK.handle(session, arrived, now))
    return said, row_of(store, arrived)


def row_of(store: Store, arrived: Arrival) -> Recipient:
    return store.read(lambda session: session.get_one(Recipient, arrived.recipient_id))


def queued(store: Store) -> list[tuple[str, str]]:
    """(template, recipient) of every notice."""
    return [(template, to) for template, to in notices_sent(store) if template]


def applications(store: Store) -> int:
    return store.read(lambda session: session.scalar(select(func.count()).select_from(Application)) or 0)


def test_an_application_is_accepted_numbered_and_answered_in_one_unit(store, now):
    take_contracts(store, now)
    said, row = handle(store, now)
    assert (said, row.state, row.finished_at) == ("handled", "handled", now)
    assert applications(store) == 1
    assert {to for _, to in queued(store)} == {CONTACT, ADMINISTRATOR, DESK.reviewer_address}


OUTCOMES: dict[str, tuple[dict[str, Any], str]] = {
    "a wrong form of somebody trusted is refused": ({"raw": wrong_mail()}, "refused"),
    "a form from elsewhere is held": ({"peer": "198.51.100.1"}, "held"),
    "a form over a relay is held": ({"raw": b"Received: from relay\r\n" + mail_with()}, "held"),
    "a form from a mail without a peer is held": ({"peer": ""}, "held"),
    "a mail to the postmaster is parked": ({"rcpt_to": "postmaster@nss.center.example"}, "parked"),
    "what no handler knows is parked": ({"rcpt_to": "who@nss.center.example"}, "parked"),
    "a trusted network of the other family": ({"peer": "2001:db8::25"}, "handled"),
}


@only_sqlite
@pytest.mark.parametrize("name", OUTCOMES)
def test_what_the_desk_says_of_a_mail_is_its_state(store, now, name):
    take_contracts(store, now)
    mail, state = OUTCOMES[name]
    said, row = handle(store, now, **mail)
    assert (said, row.state) == (state, state)
    assert row.last_reply  # why, for `explain`


@only_sqlite
def test_the_same_mail_again_is_a_duplicate(store, now):
    take_contracts(store, now)
    raw = mail_with()
    handle(store, now, raw=raw)
    assert handle(store, now, raw=raw)[0] == "duplicate"
    assert handle(store, now, raw=numbered(2))[0] == "handled"
    assert applications(store) == 2


@only_sqlite
def test_a_mail_that_was_handled_elsewhere_is_left_alone(store, now):
    take_contracts(store, now)
    arrived = put(store, now)
    store.run(lambda session: WORK.handle(session, arrived, now))
    before = queued(store)
    assert store.run(lambda session: WORK.handle(session, arrived, now)) == "handled elsewhere"
    store.run(lambda session: WORK.park(session, arrived, "too late", now))
    assert row_of(store, arrived).state == "handled"
    assert queued(store) == before


def test_whoever_fails_after_it_leaves_the_mail_as_it_was(store, now):
    take_contracts(store, now)
    arrived = put(store, now)

    def work(session: Any) -> None:
        WORK.handle(session, arrived, now)
        raise LookupError("no")

    with pytest.raises(LookupError):
        store.run(work)
    row = row_of(store, arrived)
    assert (row.state, row.finished_at, row.last_reply) == ("received", None, "")
    assert applications(store) == 0
    assert queued(store) == []


@only_sqlite
def test_a_parked_mail_keeps_its_reason_and_the_operator_is_told_once(store, now):
    arrived = put(store, now)
    for _ in range(2):
        store.run(lambda session: WORK.park(session, arrived, "x" * 1000, now))
    row = row_of(store, arrived)
    assert (row.state, row.last_reply, row.finished_at) == ("parked", "x" * 512, now)
    assert queued(store) == [("operator/mail-parked", DESK.operator_address)]


@only_sqlite
def test_a_token_is_not_in_the_reason(store, now):
    local = case_tokens.case_local_part(DESK.token_key, "260001A", CONTACT)
    said, row = handle(store, now, raw=b"Subject: x\r\n\r\nx", rcpt_to=f"{local}@nss.center.example")
    assert said == "held"
    assert local.partition(".")[2] not in row.last_reply


def test_what_was_prepared_is_handled(store, now):
    take_contracts(store, now)
    arrived = put(store, now)
    prepared = store.read(lambda session: WORK.prepare(session, arrived, now))
    assert prepared.reading is not None
    assert WORK.render(prepared) is prepared
    assert store.run(lambda session: WORK.handle(session, arrived, now, prepared)) == "handled"
    assert applications(store) == 1


def test_preparing_writes_nothing(store, now):
    take_contracts(store, now)
    arrived = put(store, now)
    store.read(lambda session: WORK.prepare(session, arrived, now))
    assert (applications(store), queued(store), row_of(store, arrived).state) == (0, [], "received")


@only_sqlite
def test_documents_are_written_by_what_was_given_for_it(store, now):
    take_contracts(store, now)
    receive(store, now)
    asked: list[str] = []

    def render(requests: Sequence[DocumentRequest]) -> list[NoticePart]:
        asked.extend(request.title for request in requests)
        return [NoticePart(file_name="x.pdf", subtype="pdf", content=b"%PDF-1.7") for _ in requests]

    work = DeskWork(DESK, (ip_network("192.0.2.0/24"),), render)
    local = case_tokens.case_local_part(DESK.token_key, "260001A", CONTACT)
    arrived = put(store, now, mail_with("【照会】\n", files=()), rcpt_to=f"{local}@nss.center.example")
    prepared = work.render(store.read(lambda session: work.prepare(session, arrived, now)))
    assert asked == ["システムサービス利用契約変更申込書"]
    assert [part.file_name for part in prepared.parts] == ["x.pdf"]
    assert store.run(lambda session: work.handle(session, arrived, now, prepared)) == "handled"
    assert queued(store) == [("applicant/status-report", CONTACT)]
