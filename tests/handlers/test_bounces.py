"""Delivery reports about notices, and notices that reached nobody (semantics §9, RFC 3464)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from handlers.bounces import ReportKind, read_report, undelivered_notices
from handlers.case_tokens import bounce_local_part
from handlers.outcomes import Handled, Parked
from storage.models import Mail, Recipient
from storage.store import opened
from tests.gateway.test_health import only_sqlite
from tests.handlers.applications.application_mails import inbound
from tests.handlers.applications.receipt_cases import CONTACT, application_mail, queued, take_in
from tests.handlers.reply_cases import NEWS, NUMBER, REVIEWER, application, entries, take_up
from tests.handlers.review_cases import DESK, audited, take_contracts

_REPORT = """From: MAILER-DAEMON@relay.example
To: bounce@nss.center.example
Subject: {subject}
{fields}MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example

{blocks}
--b--
"""
FAILED = (
    "Final-Recipient: rfc822; tsukan-hanako@applicant.example\nAction: failed\nStatus: 5.1.1\n"
    "Diagnostic-Code: smtp; 550 5.1.1\n  no such user\n"
)
WORDS = (
    "Final-Recipient: rfc822; tsukan-hanako@applicant.example; Action: failed; Status: 5.1.1; "
    "Diagnostic-Code: smtp; 550 5.1.1 no such user"
)


def report(*blocks, subject="Undelivered Mail Returned to Sender", fields="Auto-Submitted: auto-replied\n"):
    text = _REPORT.format(subject=subject, blocks="\n".join(blocks), fields=fields)
    return text.replace("\n", "\r\n").encode()


def plain(subject, *, sender="MAILER-DAEMON@relay.example", fields=""):
    text = f"From: {sender}\nSubject: {subject}\n{fields}\nYour mail:\n"
    return text.replace("\n", "\r\n").encode()


@pytest.fixture
def case(store, now):
    """The store with an application received by mail, and so three notices."""
    take_contracts(store, now)
    take_in(store, application_mail(now), now)
    return store


def notice_of(store):
    query = select(Recipient.mail_id).where(Recipient.rcpt_to == CONTACT).order_by(Recipient.id)
    return store.read(lambda session: session.scalars(query).first())


def bounced(store, now, raw, notice=None, **envelope):
    address = bounce_local_part(DESK.token_key, notice or notice_of(store))
    defaults = {"rcpt_to": f"{address}@nss.center.example", "mail_from": "", "trusted": False, "mail_id": 99}
    return take_up(store, application_mail(now, raw, **{**defaults, **envelope}), now)


def test_a_failure_is_recorded_on_notice_and_case_and_told(case, now):
    notice, before = notice_of(case), queued(case)
    assert bounced(case, now, report(FAILED)) == Handled(f"delivery report about notice {notice}: failed")
    assert audited(case, f"mail:{notice}") == [("notice_bounced", "gateway", f"mail 99: {WORDS}")]
    assert audited(case, f"application:{NUMBER}")[-1][0] == "notice_bounced"
    [entry] = entries(case, "bounced")
    assert (entry.words, entry.mail_id, entry.actor) == (WORDS, 99, "gateway")
    assert json.loads(entry.detail)["rcpt_to"] == CONTACT
    assert queued(case)[len(before) :] == [(NEWS, REVIEWER)]


def test_the_reviewer_is_told_once_a_notice(case, now):
    for _ in range(3):
        bounced(case, now, report(FAILED))
    assert queued(case).count((NEWS, REVIEWER)) == 1
    assert len(entries(case, "bounced")) == 3


def test_two_reports_at_once_tell_the_reviewer_once(case, store_url, now):
    def report_it(_process):
        with opened(store_url) as own:
            return bounced(own, now, report(FAILED))

    with ThreadPoolExecutor(2) as processes:
        list(processes.map(report_it, range(2)))
    assert queued(case).count((NEWS, REVIEWER)) == 1


@only_sqlite
@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded"])
def test_what_is_no_failure_is_only_noted(case, now, action):
    bounced(case, now, report(FAILED.replace("failed", action)))
    assert entries(case, "bounced") == []
    assert (NEWS, REVIEWER) not in queued(case)
    assert audited(case, f"mail:{notice_of(case)}")[0][0].startswith("notice_")


KINDS = {
    "one of several recipients failed": (report(FAILED.replace("failed", "delivered"), FAILED), ReportKind.FAILED),
    "an action in capitals with a comment": (report(FAILED.replace("failed", "Failed (final)")), ReportKind.FAILED),
    "no action at all": (report("Status: 5.0.0\n"), ReportKind.FAILED),
    "an unknown action": (report("Action: exploded\n", subject="Undelivered"), ReportKind.FAILED),
    "a plain bounce of a daemon": (plain("failure notice"), ReportKind.FAILED),
    "a plain bounce that is marked as a reply": (
        plain("Mail delivery failed", fields="Auto-Submitted: auto-replied\n"),
        ReportKind.FAILED,
    ),
    "a plain bounce that names its recipient": (
        plain("x", sender="relay@relay.example", fields="X-Failed-Recipients: a@b.example\n"),
        ReportKind.FAILED,
    ),
    "a plain warning": (plain("Warning: could not send message for past 4 hours"), ReportKind.DELAYED),
    "a delay of a daemon": (plain("Delivery delayed"), ReportKind.DELAYED),
    "somebody away": (
        plain("自動応答: 利用申込受付完了", sender=CONTACT, fields="Auto-Submitted: auto-replied\n"),
        ReportKind.ABSENT,
    ),
    "somebody away without a field": (plain("不在通知", sender=CONTACT), ReportKind.ABSENT),
    "an automatic answer in other words": (
        plain("Re: x", sender=CONTACT, fields="Auto-Submitted: auto-replied\n"),
        ReportKind.ABSENT,
    ),
    "nothing that could be read": (b"\r\n", ReportKind.FAILED),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_report_is_what_it_says(name):
    raw, kind = KINDS[name]
    assert read_report(inbound(raw)).kind is kind


def test_the_answer_of_somebody_away_is_no_bounce(case, now):
    raw = plain("自動応答: 利用申込受付完了", sender=CONTACT, fields="Auto-Submitted: auto-replied\n")
    assert bounced(case, now, raw).reason.endswith(": absent")
    assert entries(case, "bounced") == []


@only_sqlite
def test_a_report_about_a_notice_no_longer_known_is_noted_all_the_same(case, now):
    assert isinstance(bounced(case, now, report(FAILED), notice=7), Handled)
    assert len(audited(case, "mail:7")) == 1


@only_sqlite
def test_a_persons_answer_to_a_bounce_address_is_parked(case, now):
    raw = plain("Re: お知らせ", sender=CONTACT)
    assert isinstance(bounced(case, now, raw, mail_from=CONTACT), Parked)
    assert entries(case, "bounced") == []


def test_notices_that_reached_nobody_are_seen(case, now):
    first, second = case.read(
        lambda session: session.scalars(
            select(Recipient.mail_id).join(Mail, Mail.id == Recipient.mail_id).order_by(Recipient.id).limit(2)
        ).all()
    )
    case.run(
        lambda session: session.execute(
            update(Recipient)
            .where(Recipient.mail_id == second)
            .values(state="expired", finished_at=now, last_reply="no server")
        )
    )
    bounced(case, now, report(FAILED), notice=first)
    bounced(case, now, report(FAILED), notice=first)
    found = case.read(lambda session: undelivered_notices(session, session.merge(application(case))))
    assert sorted((notice.mail_id, notice.state) for notice in found) == [(first, "bounced"), (second, "expired")]
    assert {notice.template for notice in found} == {"applicant/application-received"}
    assert {notice.reason for notice in found} == {WORDS, "no server"}


@only_sqlite
def test_notices_that_arrived_are_none_of_them(case, now):
    assert case.read(lambda session: undelivered_notices(session, session.merge(application(case)))) == []


@given(st.binary(max_size=400), st.binary(max_size=200))
def test_no_report_raises(block, head):
    raw = report("@").replace(b"@", block) + head
    found = read_report(inbound(raw))
    assert len(found.words) <= 301
    assert "\n" not in found.words
