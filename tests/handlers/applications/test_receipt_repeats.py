from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from handlers.applications.receipt_repeats import (
    REMEMBERED_FOR,
    Meeting,
    Recognition,
    content_hash,
    first_within,
    recognise,
)
from tests.handlers.applications.application_mails import mail_with
from tests.handlers.applications.receipt_cases import application_mail

RAW = mail_with("text\n", files=())
OTHER = mail_with("other text\n", files=())
WITHOUT_ID = RAW.replace(b"Message-ID: <1@applicant.example>\r\n", b"")


def recognised(store, now, raw=RAW, **envelope):
    mail = application_mail(now, raw, **envelope)
    return store.run(lambda session: recognise(session, mail))


def test_a_mail_seen_for_the_first_time_is_new(store, now):
    assert recognised(store, now) == Recognition(Meeting.NEW)


@pytest.mark.parametrize("raw", [RAW, WITHOUT_ID])
def test_the_same_mail_again_is_a_repeat_of_the_first(store, now, raw):
    recognised(store, now, raw, mail_id=7)
    again = recognised(store, now + timedelta(days=59), raw, mail_id=8)
    assert again == Recognition(Meeting.REPEAT, 7)


def test_trace_fields_of_another_way_do_not_make_another_mail(store, now):
    recognised(store, now, mail_id=7)
    trace = (
        b"Return-Path: <a@b.example>\r\nReceived: from a\r\n\tby b; now\r\nDelivered-To: apply@nss.center.example\r\n"
    )
    assert recognised(store, now, trace + RAW, mail_id=8).meeting is Meeting.REPEAT


def test_the_sender_counts_in_any_case_of_letters(store, now):
    recognised(store, now, mail_from="a@b.example")
    assert recognised(store, now, mail_from="A@B.example").meeting is Meeting.REPEAT
    assert recognised(store, now, mail_from="c@b.example").meeting is Meeting.NEW


def test_a_signed_mail_is_known_by_its_author_whoever_sends_it_again(store, now):
    signed = {"signed_by": ("applicant.example",), "trusted": False}
    recognised(store, now, mail_id=7, **signed)
    again = {"mail_from": "thief@elsewhere.example", **signed}
    assert recognised(store, now, mail_id=8, **again) == Recognition(Meeting.REPEAT, 7)
    dressed = b"X-Unsigned: 1\r\n" + RAW
    assert recognised(store, now, dressed, mail_id=9, **again) == Recognition(Meeting.OTHER_CONTENT, 7)


def test_a_signed_mail_without_a_message_id_is_known_by_its_date(store, now):
    signed = {"signed_by": ("applicant.example",), "trusted": False}
    dated = b"Date: Tue, 24 Nov 2026 10:00:00 +0900\r\n" + WITHOUT_ID
    recognised(store, now, dated, mail_id=7, **signed)
    dressed = b"X-Unsigned: 1\r\n" + dated
    again = {"mail_from": "thief@elsewhere.example", **signed}
    assert recognised(store, now, dressed, mail_id=8, **again) == Recognition(Meeting.OTHER_CONTENT, 7)


def test_a_forged_mail_takes_no_message_id_from_a_signed_one(store, now):
    recognised(store, now, OTHER, mail_id=7, trusted=False)
    signed = {"signed_by": ("applicant.example",), "trusted": False}
    assert recognised(store, now, mail_id=8, **signed).meeting is Meeting.NEW


def test_a_message_id_with_other_content_names_the_earlier_mail(store, now):
    recognised(store, now, mail_id=7)
    assert recognised(store, now, OTHER, mail_id=8) == Recognition(Meeting.OTHER_CONTENT, 7)


def test_a_mail_under_a_used_message_id_is_itself_known_when_it_comes_again(store, now):
    recognised(store, now, mail_id=7)
    recognised(store, now, OTHER, mail_id=8)
    assert recognised(store, now, OTHER, mail_id=9) == Recognition(Meeting.REPEAT, 8)


def test_after_sixty_days_a_mail_is_new_again(store, now):
    recognised(store, now, mail_id=7)
    later = now + REMEMBERED_FOR + timedelta(seconds=1)
    assert recognised(store, later, mail_id=8).meeting is Meeting.NEW
    assert recognised(store, later, mail_id=9) == Recognition(Meeting.REPEAT, 8)


def test_a_mail_whose_handling_was_rolled_back_is_not_remembered(store, now):
    def fail(session):
        recognise(session, application_mail(now, RAW))
        raise RuntimeError("the handler failed")

    with pytest.raises(RuntimeError):
        store.run(fail)
    assert recognised(store, now).meeting is Meeting.NEW


def test_folding_of_a_field_is_no_content(now):
    mail = application_mail(now, b"Subject: a\r\n b\r\nX: c\r\n\r\ntext")
    assert content_hash(mail) == content_hash(replace(mail, raw=b"Subject:  a b\r\nX: c\r\n\r\ntext"))
    assert content_hash(mail) != content_hash(replace(mail, raw=b"Subject: a b\r\nX: c\r\n\r\ntext2"))


def test_a_mail_without_a_body_has_a_content_hash(now):
    one, other = (application_mail(now, raw) for raw in (b"Subject: a\r\n", b"Subject: b\r\n"))
    assert content_hash(one) != content_hash(other)


def test_a_mail_about_a_case_is_remembered_apart(store, now):
    recognised(store, now, mail_id=7)
    mail = application_mail(now, RAW, mail_id=8)
    about = store.run(lambda session: recognise(session, mail, about="case:260001A"))
    assert about == Recognition(Meeting.NEW)
    again = store.run(lambda session: recognise(session, mail, about="case:260001A"))
    assert again == Recognition(Meeting.REPEAT, 8)


def test_what_is_asked_for_is_asked_for_the_first_time_once_in_a_while(store, now):
    def asked(minutes, what="form", whom="a@b.example"):
        mail = application_mail(now + timedelta(minutes=minutes), RAW)
        return store.run(lambda session: first_within(session, mail, what, whom, timedelta(hours=1)))

    assert [asked(0), asked(59, whom="A@B.example"), asked(61), asked(62)] == [True, False, True, False]
    assert asked(62, what="schedule")
    assert asked(62, whom="c@b.example")
