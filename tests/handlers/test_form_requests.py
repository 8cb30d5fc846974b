"""The blank form and the schedule by mail: to whom, how often, and never to a machine (semantics §9)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from email import message_from_bytes
from email.policy import default

import pytest

from handlers.applications import blank_form
from handlers.outcomes import Handled, Refused
from storage.models import ScheduleDay
from storage.store import opened
from tests.gateway.test_health import only_sqlite
from tests.handlers.applications.receipt_cases import CONTACT, application_mail, mail_to, queued
from tests.handlers.reply_cases import STRANGER, take_up, written
from tests.handlers.review_cases import take_contracts

FORM = "applicant/blank-form"
SCHEDULE = "applicant/schedule"
TEMPLATES = {"form": FORM, "schedule": SCHEDULE}


def asked(store, now, what="form", raw=None, sender=CONTACT, **envelope):
    mail = application_mail(now, raw or written("\n", sender=sender), rcpt_to=f"{what}@nss.center.example", **envelope)
    return take_up(store, mail, now)


def message(store, what, address=CONTACT):
    return message_from_bytes(mail_to(store, TEMPLATES[what], address), policy=default)


def add_days(store, *days):
    store.run(lambda session: session.add_all(ScheduleDay(start_on=start, apply_by=by) for start, by in days))


def test_the_form_comes_with_the_template_of_the_diagram(store, now):
    take_contracts(store, now)
    add_days(store, (date(2026, 12, 14), date(2026, 12, 1)), (date(2026, 11, 2), date(2026, 10, 20)))
    assert asked(store, now) == Handled("answered with the form")
    parts = {part.get_filename(): part for part in message(store, "form").iter_attachments()}
    assert set(parts) == {"利用申込書.txt", "システム構成図.xlsx"}
    assert parts["システム構成図.xlsx"].get_content() == blank_form.diagram_template()
    form = parts["利用申込書.txt"].get_content()
    assert "【申込内容】" in form
    assert "20261214" in form
    assert "20261102" not in form


def test_the_schedule_is_a_table_of_days_to_come(store, now):
    add_days(store, *((date(2027, 1, day), date(2026, 12, day)) for day in range(4, 20)))
    assert asked(store, now, "schedule") == Handled("answered with the schedule")
    text = message(store, "schedule").get_content()
    assert text.count("2027年1月") == 16


@only_sqlite
@pytest.mark.parametrize("what", TEMPLATES)
def test_a_signed_stranger_is_answered_too(store, now, what):
    envelope = {"trusted": False, "signed_by": ("elsewhere.example",), "mail_from": STRANGER}
    assert isinstance(asked(store, now, what, sender=STRANGER, **envelope), Handled)
    assert queued(store) == [(TEMPLATES[what], STRANGER)]


@only_sqlite
@pytest.mark.parametrize("what", TEMPLATES)
@pytest.mark.parametrize(
    ("field", "envelope"),
    [
        (b"", {"trusted": False}),
        (b"Received: from a by b; now\r\n", {}),
        (b"From: x@applicant.example\r\n", {}),
        (b"", {"trusted": False, "signed_by": ("elsewhere.example",)}),
        (b"", {"mail_from": ""}),
        (b"Auto-Submitted: auto-generated\r\n", {}),
        (b"X-Auto-Response-Suppress: OOF, AutoReply\r\n", {"trusted": False}),
        (b"List-Id: <l.example>\r\n", {}),
    ],
)
def test_nobody_else_is(store, now, what, field, envelope):
    assert isinstance(asked(store, now, what, field + written("\n"), **envelope), Refused)
    assert queued(store) == []


@only_sqlite
def test_somebody_away_is_not_answered(store, now):
    assert isinstance(asked(store, now, raw=written("\n", subject="自動応答: 用紙")), Refused)


def test_an_address_is_answered_once_an_hour(store, now):
    for minutes, subject in ((0, "1"), (30, "2"), (61, "3")):
        instant = now + timedelta(minutes=minutes)
        sender = CONTACT if minutes else CONTACT.upper()
        assert isinstance(asked(store, instant, raw=written("\n", sender=sender, subject=subject)), Handled)
    assert len(queued(store)) == 2
    assert isinstance(asked(store, now, "schedule"), Handled)
    assert len(queued(store)) == 3


def test_of_two_at_once_one_is_answered(store, store_url, now):
    mails = [written("\n", subject=str(number)) for number in range(2)]

    def ask(raw):
        with opened(store_url) as own:
            return asked(own, now, raw=raw)

    with ThreadPoolExecutor(2) as processes:
        list(processes.map(ask, mails))
    assert queued(store) == [(FORM, CONTACT)]
