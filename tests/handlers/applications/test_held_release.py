"""Held mail: listed, released by a reviewer, expired when nobody did (application-desk §5, semantics §9)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from sqlalchemy import func, select

from gateway.desk_work import DeskWork
from handlers.applications import held_release
from handlers.applications.held_release import NotReleased, Released, ReleaseReason
from handlers.case_tokens import case_local_part
from handlers.workflow import Event
from storage.committer import Committer
from storage.mail_queue import Origin, arrival, load_arrival
from storage.models import Application, DeskJob, Mail, Recipient
from storage.states import State
from storage.store import opened
from tests.gateway.test_health import only_sqlite
from tests.handlers.applications.application_mails import form_with, mail_with
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT, mail_to, queued, wrong_mail
from tests.handlers.reply_cases import NUMBER, REVIEWER, STATUS, STRANGER, application, decided, entries, written
from tests.handlers.review_cases import CALENDAR, DESK, WITH_SMTP_SERVER, audited, receive, state_of, take_contracts

RECEIVED = "applicant/application-received"
INVALID = "applicant/application-invalid"
EXPIRED = "reviewer/held-expired"
REVIEWER_ACTOR = "os:shinsa"
WORK = DeskWork(DESK, ())
CASE = f"{case_local_part(DESK.token_key, NUMBER, CONTACT)}@nss.center.example"


@pytest.fixture
def office(store, now):
    """The store with the office of the sample file."""
    take_contracts(store, now)
    return store


def come_in(store, at, raw=None, *, to="apply@nss.center.example", sender=CONTACT):
    """A mail from nowhere in particular, committed and handled: its id and state."""
    origin = Origin(listener="public", peer="198.51.100.1", mail_from=sender)
    mail_id, unit = arrival(store.new_key, origin, [(to, f"public:{sender}")], raw or mail_with(), at)
    Committer(store).commit([unit])
    arrived = store.read(lambda session: load_arrival(session, unit.notes[0].payload.recipient_id))
    assert arrived is not None
    return mail_id, store.run(lambda session: WORK.handle(session, arrived, at))


def held(store, at, raw=None, **mail):
    mail_id, state = come_in(store, at, raw, **mail)
    assert state == "held"
    return mail_id


def release(store, mail_id, now, desk=DESK):
    return store.run(lambda session: held_release.release(session, desk, mail_id, REVIEWER_ACTOR, now, CALENDAR))


def row_of(store, mail_id):
    query = select(Recipient).where(Recipient.mail_id == mail_id)
    return store.read(lambda session: session.scalars(query).one())


def sent_since(store, before):
    return queued(store)[len(before) :]


def test_a_released_application_is_accepted(office, now):
    mail_id = held(office, now)
    before = queued(office)
    released = release(office, mail_id, now + timedelta(days=1))
    assert released == Released(
        mail_id=mail_id,
        state=State.HANDLED,
        said=f"released and received as {NUMBER}",
        receipt_number=NUMBER,
    )
    assert [name for name, _ in sent_since(office, before)] == [RECEIVED, RECEIVED, "reviewer/review-requested"]
    row = application(office)
    assert (row.sender_verdict, row.mail_id, row.address_accepted) == (f"released by {REVIEWER_ACTOR}", mail_id, False)
    assert [entry.kind for entry in entries(office)] == ["received", "released"]
    assert entries(office)[-1].actor == REVIEWER_ACTOR
    assert row_of(office, mail_id).state == "handled"
    assert audited(office, f"mail:{mail_id}")[-1][:2] == ("mail_released", REVIEWER_ACTOR)
    assert office.read(lambda session: session.scalar(select(func.count()).select_from(DeskJob))) == 1


def test_it_is_dated_by_its_arrival_also_over_new_year(office):
    arrived = datetime(2026, 12, 31, 14, 59, tzinfo=UTC)
    raw = mail_with(form_with({"申込内容/利用開始日": "20270114", "回線・論理端末/工事希望日": "20270114"}))
    mail_id = held(office, arrived, raw)
    released = release(office, mail_id, arrived + timedelta(days=5))
    assert released.receipt_number == "260001A"
    row = application(office)
    assert (row.received_on, row.arrived_at) == (date(2026, 12, 31), arrived)


def test_the_rules_are_those_of_todays_register(office, now):
    raw = mail_with(
        form_with({"回線・論理端末/対象の論理端末名": "60777S", "回線・論理端末/SMTPサーバ台数（SMTP双方向）": ""})
    )
    mail_id = held(office, now, raw)
    refused = release(office, mail_id, now)
    assert isinstance(refused, Released)
    assert refused.state is State.REFUSED
    again = held(office, now, raw.replace(b"<1@", b"<2@"))
    take_contracts(office, now, WITH_SMTP_SERVER)
    assert release(office, again, now).receipt_number == NUMBER


def test_errors_are_answered_to_the_registered_person_who_wrote_it(office, now):
    mail_id = held(office, now, wrong_mail())
    before = queued(office)
    released = release(office, mail_id, now)
    assert isinstance(released, Released)
    assert (released.state, released.receipt_number) == (State.REFUSED, None)
    assert sent_since(office, before) == [(INVALID, CONTACT)]
    assert row_of(office, mail_id).state == "refused"


def test_or_to_the_registered_person_whom_the_form_names(office, now):
    raw = wrong_mail().replace(CONTACT.encode(), STRANGER.encode(), 1)
    mail_id = held(office, now, raw, sender=STRANGER)
    before = queued(office)
    release(office, mail_id, now)
    assert sent_since(office, before) == [(INVALID, CONTACT)]


def test_where_nobody_is_registered_the_mail_stays_held_with_its_errors(office, now):
    raw = mail_with(form_with({"申込内容/事業所コード": "ZZ9999"})).replace(CONTACT.encode(), STRANGER.encode())
    mail_id = held(office, now, raw, sender=STRANGER)
    before = queued(office)
    refused = release(office, mail_id, now)
    assert isinstance(refused, NotReleased)
    assert refused.reason is ReleaseReason.INVALID
    assert "office_unknown" in [error.code for error in refused.errors]
    assert queued(office) == before
    assert row_of(office, mail_id).state == "held"
    assert audited(office, f"mail:{mail_id}")[-1][0] == "application_held"


def test_a_mail_is_released_once(office, now):
    mail_id = held(office, now)
    release(office, mail_id, now)
    before = queued(office)
    assert release(office, mail_id, now) == NotReleased(reason=ReleaseReason.NOT_HELD, detail="handled")
    assert queued(office) == before


def test_two_reviewers_at_once_release_it_once(office, store_url, now):
    mail_id = held(office, now)

    def release_it(_process):
        with opened(store_url) as own:
            return release(own, mail_id, now)

    with ThreadPoolExecutor(2) as processes:
        results = list(processes.map(release_it, range(2)))
    assert sorted(type(result).__name__ for result in results) == ["NotReleased", "Released"]
    assert office.read(lambda session: session.scalar(select(func.count()).select_from(Application))) == 1


@only_sqlite
def test_an_unknown_mail_is_not_released(office, now):
    assert release(office, 7, now) == NotReleased(reason=ReleaseReason.NOT_FOUND, detail="7")


@only_sqlite
def test_a_reused_message_id_may_be_released(office, now):
    first = held(office, now)
    second = held(office, now, mail_with(form_with({"申込内容/変更する理由": "別の理由"})))
    assert [release(office, mail_id, now).receipt_number for mail_id in (first, second)] == ["260001A", "260002A"]


def test_a_released_reply_acts_on_its_case(office, now):
    receive(office, now)
    decided(office, Event.INQUIRE, now, words="台数は。")
    mail_id = held(office, now, written("【回答】\n3台です。\n"), to=CASE)
    released = release(office, mail_id, now)
    assert isinstance(released, Released)
    assert released.receipt_number == NUMBER
    assert state_of(office) == "under_review"
    assert [entry.kind for entry in entries(office)][-2:] == ["released", "answer"]


def test_what_a_stranger_asked_is_answered_to_the_applicant(office, now):
    receive(office, now)
    mail_id = held(office, now, written("【照会】\n", sender=STRANGER), to=CASE, sender=STRANGER)
    before = queued(office)
    release(office, mail_id, now)
    assert sent_since(office, before) == [(STATUS, CONTACT)]


@only_sqlite
def test_a_mail_that_names_a_case_may_be_released_too(office, now):
    receive(office, now)
    mail_id = held(office, now, written("【取下げ】\n", subject=NUMBER))
    release(office, mail_id, now)
    assert state_of(office) == "withdrawn"


@only_sqlite
def test_a_reply_about_no_case_stays_held(office, now):
    mail_id = held(office, now, written("【取下げ】\n"), to=CASE)
    assert release(office, mail_id, now) == NotReleased(reason=ReleaseReason.NO_CASE, detail=NUMBER)
    assert row_of(office, mail_id).state == "held"


def test_held_mail_is_listed_and_counted(office, now):
    first = held(office, now)
    second = held(
        office, now + timedelta(minutes=1), written("【取下げ】\n", sender=STRANGER), to=CASE, sender=STRANGER
    )
    listed = office.read(held_release.held)
    assert [mail.mail_id for mail in listed] == [first, second]
    assert (listed[0].author, listed[0].subject) == (CONTACT, "利用申込")
    assert listed[0].reason == "the sender could not be verified"
    assert listed[1].rcpt_to == f"case+{NUMBER}.…@nss.center.example"
    sizes = office.read(lambda session: session.scalars(select(Mail.size).where(Mail.id.in_((first, second)))).all())
    assert office.read(held_release.held_bytes) == sum(sizes)
    release(office, first, now)
    assert [mail.mail_id for mail in office.read(held_release.held)] == [second]


@only_sqlite
def test_an_author_that_cannot_be_read_is_listed_as_none(office, now):
    held(office, now, b"From: x@applicant.example\r\n" + mail_with())
    assert office.read(held_release.held)[0].author is None


def test_nothing_is_held_at_first(office):
    assert office.read(held_release.held) == []
    assert office.read(held_release.held_bytes) == 0


def test_held_mail_expires_and_the_reviewer_is_told(office, now):
    mail_id = held(office, now)
    young = held(office, now + timedelta(days=1), mail_with(subject="二通目").replace(b"<1@", b"<2@"))
    later = now + DESK.held_for
    before = queued(office)
    expire = held_release.expire
    assert office.run(lambda session: expire(session, DESK, later - timedelta(seconds=1))) == 0
    assert office.run(lambda session: expire(session, DESK, later)) == 1
    assert office.run(lambda session: expire(session, DESK, later)) == 0
    assert sent_since(office, before) == [(EXPIRED, REVIEWER)]
    text = message_from_bytes(mail_to(office, EXPIRED, REVIEWER), policy=default).get_content()
    assert str(mail_id) in text
    assert str(young) not in text
    row = row_of(office, mail_id)
    assert (row.state, row.finished_at) == ("expired", later)
    assert row.last_reply.startswith("nobody released it: ")
    assert audited(office, f"mail:{mail_id}")[-1][0] == "held_mail_expired"
    assert release(office, mail_id, later) == NotReleased(reason=ReleaseReason.NOT_HELD, detail="expired")


@only_sqlite
def test_many_expire_with_one_mail_at_a_time(office, now):
    for number in range(23):
        held(office, now, mail_with(subject=str(number)).replace(b"<1@", f"<{number}@".encode()))
    desk = replace(DESK, held_for=timedelta(days=1))
    before = queued(office)
    assert office.run(lambda session: held_release.expire(session, desk, now + timedelta(days=2))) == 23
    assert sent_since(office, before) == [(EXPIRED, REVIEWER)]
    text = message_from_bytes(mail_to(office, EXPIRED, REVIEWER), policy=default).get_content()
    assert "ほかに 3通" in text


def test_two_processes_expire_it_once(office, store_url, now):
    held(office, now)
    before = queued(office)

    def expire(_process):
        with opened(store_url) as own:
            return own.run(lambda session: held_release.expire(session, DESK, now + DESK.held_for))

    with ThreadPoolExecutor(2) as processes:
        assert sum(processes.map(expire, range(2))) == 1
    assert sent_since(office, before) == [(EXPIRED, REVIEWER)]


def test_the_office_was_told_and_not_the_stranger(office, now):
    held(office, now, mail_with().replace(CONTACT.encode(), STRANGER.encode(), 1), sender=STRANGER)
    assert {address for name, address in queued(office) if name} == {CONTACT, ADMINISTRATOR, REVIEWER}
