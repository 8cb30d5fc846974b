from __future__ import annotations

from datetime import date
from email import message_from_bytes
from email.policy import default

import pytest
from sqlalchemy import select

from handlers import case_tokens, desk_mail
from handlers.case_tokens import bounce_local_part, case_local_part
from handlers.outcomes import Handled, Parked
from storage.mail_queue import Arrival
from storage.models import Application, ScheduleDay
from tests.handlers.applications.application_mails import mail_with
from tests.handlers.applications.receipt_cases import CONTACT, application_mail, mail_to, queued, take_in
from tests.handlers.review_cases import DESK, audited, take_contracts

PARKED = "operator/mail-parked"
OPERATOR = DESK.operator_address
CASE = case_local_part(DESK.token_key, "260001A", CONTACT)

REPORT = b"""From: MAILER-DAEMON@relay.example
To: bounce@nss.center.example
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example

Final-Recipient: rfc822; tsukan-hanako@applicant.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b--
""".replace(b"\n", b"\r\n")


def handled(store, now, local_part, raw=None, **envelope):
    rcpt_to = f"{local_part}@nss.center.example" if "@" not in local_part else local_part
    mail = application_mail(now, raw, rcpt_to=rcpt_to, **envelope)
    return store.run(lambda session: desk_mail.handle(session, mail, DESK, now))


def text_of(raw):
    return message_from_bytes(raw, policy=default).get_content().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "local_part",
    [
        "apply",
        "APPLY",
        "form",
        "Schedule",
        "postmaster",
        "Postmaster",
        CASE,
        CASE.upper(),
        bounce_local_part(DESK.token_key, 7),
    ],
)
def test_the_desk_knows_its_own_addresses(local_part):
    assert desk_mail.knows(local_part, DESK)


@pytest.mark.parametrize(
    "local_part",
    [
        "forms",
        "schedule+x",
        "nss",
        "reviewer",
        "case",
        "case+260001A",
        "bounce",
        "bounce+7.aaaaaaaaaaaaaaaa",
        "apply+x",
        "",
    ],
)
def test_other_addresses_are_unknown(local_part):
    assert not desk_mail.knows(local_part, DESK)


def test_an_application_is_received(store, now):
    take_contracts(store, now)
    assert handled(store, now, "Apply") == Handled("received as 260001A")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("postmaster", "mail to the postmaster, for a person to read"),
        ("forms", "no handler knows this address"),
    ],
)
def test_what_no_handler_understands_is_parked_and_the_operator_told(store, now, address, reason):
    assert handled(store, now, address, mail_id=7) == Parked(reason)
    assert queued(store) == [(PARKED, OPERATOR)]
    text = text_of(mail_to(store, PARKED, OPERATOR))
    assert "メール番号 : 7" in text
    assert reason in text.replace("\n    ", "")


def test_postmaster_needs_no_domain(store, now):
    mail = application_mail(now, rcpt_to="postmaster")
    outcome = store.run(lambda session: desk_mail.handle(session, mail, DESK, now))
    assert outcome == Parked("mail to the postmaster, for a person to read")


def test_a_token_is_masked_in_the_operators_mail(store, now):
    mail = application_mail(now, rcpt_to=f"{CASE}@nss.center.example")
    store.run(lambda session: desk_mail.tell_operator_parked(session, DESK, mail, "why", now))
    text = text_of(mail_to(store, PARKED, OPERATOR))
    assert "case+260001A.…@nss.center.example" in text
    assert case_tokens.case_token(DESK.token_key, "260001A", CONTACT) not in text


def test_answers_of_the_operator_go_to_the_operator(store, now):
    handled(store, now, "postmaster")
    mail = message_from_bytes(mail_to(store, PARKED, OPERATOR), policy=default)
    assert mail["Reply-To"] == OPERATOR


def test_a_notice_of_ours_that_comes_back_is_parked_without_another_notice(store, now):
    raw = mail_with(sender="nss@nss.center.example")
    assert isinstance(handled(store, now, "postmaster", raw), Parked)
    assert queued(store) == []


@pytest.mark.parametrize("address", [CASE, CASE.upper()])
def test_a_reply_finds_its_case_in_any_case_of_letters(store, now, address):
    take_contracts(store, now)
    take_in(store, application_mail(now), now)
    raw = mail_with("【照会】\n", files=()).replace(b"<1@", b"<2@")
    assert handled(store, now, address, raw) == Handled("question about 260001A")


def test_a_report_of_a_relay_is_recorded(store, now):
    address = bounce_local_part(DESK.token_key, 7)
    outcome = handled(store, now, address, REPORT, mail_id=9, mail_from="", trusted=False)
    assert outcome == Handled("delivery report about notice 7: failed")
    assert len(audited(store, "mail:7")) == 1


@pytest.mark.parametrize(("address", "template"), [("form", "blank-form"), ("schedule", "schedule")])
def test_form_and_schedule_are_sent(store, now, address, template):
    assert isinstance(handled(store, now, address), Handled)
    assert queued(store) == [(f"applicant/{template}", CONTACT)]


@pytest.mark.parametrize("address", ["apply", "form", "schedule", CASE, "postmaster", "nobody"])
def test_what_is_prepared_is_handled_as_what_is_not(store, now, address):
    take_contracts(store, now)
    mail = application_mail(now, rcpt_to=f"{address}@nss.center.example")
    prepared = store.read(lambda session: desk_mail.prepare(session, mail, DESK, now))
    assert (prepared.reading is not None) == (address == "apply")
    before = handled(store, now, address)
    again = application_mail(now, mail_with().replace(b"<1@", b"<2@"), rcpt_to=mail.rcpt_to, mail_from="x@y.example")
    after = store.run(lambda session: desk_mail.handle(session, again, DESK, now, prepared))
    assert type(after) is type(before)


def test_an_application_prepared_with_an_older_register_is_read_again(store, now):
    mail = application_mail(now)
    prepared = store.read(lambda session: desk_mail.prepare(session, mail, DESK, now))
    take_contracts(store, now)
    outcome = store.run(lambda session: desk_mail.handle(session, mail, DESK, now, prepared))
    assert outcome == Handled("received as 260001A")


def test_nothing_is_read_of_a_machines_mail(store, now):
    mail = application_mail(now, mail_from="")
    prepared = store.read(lambda session: desk_mail.prepare(session, mail, DESK, now))
    assert prepared.reading is None


def test_the_worker_tells_of_any_mail_it_parks(store, now):
    arrival = Arrival(
        recipient_id=1,
        mail_id=7,
        listener="naccs",
        peer="127.20.13.13",
        helo_name="client",
        mail_from="",
        rcpt_to="naccs@smtp.center.example",
        received_at=now,
        content=b"",
        content_hash=b"",
        order_key="",
    )
    reason = "ValueError in its handler\x1b, 3 times"
    told = store.run(lambda session: desk_mail.tell_operator_parked(session, DESK, arrival, reason, now))
    assert told is not None
    text = text_of(mail_to(store, PARKED, OPERATOR))
    assert "受信口 : naccs" in text
    assert "送信者（MAIL FROM） : <>" in text
    assert "ValueError in its handler[U+001B], 3 times" in text


def test_a_flood_of_parked_mails_is_no_flood_for_the_operator(store, now):
    for number in range(32):
        assert isinstance(handled(store, now, "postmaster", mail_id=number), Parked)
    assert queued(store) == [(PARKED, OPERATOR)] * 30
    assert "この1時間のお知らせはこれが最後です" in text_of(mail_to(store, PARKED, OPERATOR))
    mail = application_mail(now, rcpt_to="apply@nss.center.example")
    by_worker = store.run(lambda session: desk_mail.tell_operator_parked(session, DESK, mail, "why", now))
    assert by_worker is not None


def test_the_workers_notices_have_a_limit_too(store, now):
    mail = application_mail(now)
    told = [
        store.run(lambda session: desk_mail.tell_operator_parked(session, DESK, mail, "why", now)) for _ in range(31)
    ]
    assert [mail_id is None for mail_id in told] == [False] * 30 + [True]


def test_an_application_prepared_with_an_older_schedule_is_read_again(store, now):
    take_contracts(store, now)
    mail = application_mail(now)
    prepared = store.read(lambda session: desk_mail.prepare(session, mail, DESK, now))
    store.run(lambda session: session.add(ScheduleDay(start_on=date(2026, 12, 21), apply_by=date(2026, 12, 7))))
    store.run(lambda session: desk_mail.handle(session, mail, DESK, now, prepared))
    contents = store.read(lambda session: session.scalars(select(Application.contents)).one())
    assert '"off_schedule"' in contents
