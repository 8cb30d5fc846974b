"""Who may act on an application by mail, and which application a mail means (application-desk §5, semantics §9)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.applications.receipt_holds import HoldReason
from handlers.case_tokens import case_token
from handlers.outcomes import Duplicate, Handled, Held, Refused
from handlers.workflow import Event
from storage.store import opened
from tests.gateway.test_health import only_sqlite
from tests.handlers.applications.application_mails import form_with, mail_with
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT, application_mail, queued, take_in
from tests.handlers.reply_cases import (
    NEWS,
    NUMBER,
    REVIEWER,
    STATUS,
    STRANGER,
    application,
    change_application,
    decided,
    entries,
    reply,
    take_up,
    to_apply,
    written,
)
from tests.handlers.review_cases import DESK, audited, receive, state_of, take_contracts

HELD = "applicant/application-held"
WAITING = "reviewer/application-waiting"
TOLD = sorted([(HELD, CONTACT), (HELD, ADMINISTRATOR), (WAITING, REVIEWER)])
WITHDRAW = "【取下げ】\n"


@pytest.fixture
def case(store, now):
    """The store with the sample office and one received application of it."""
    take_contracts(store, now)
    receive(store, now)
    return store


@only_sqlite
@pytest.mark.parametrize(
    ("sender", "token_of"),
    [(CONTACT, CONTACT), (CONTACT.upper(), CONTACT), (ADMINISTRATOR, ADMINISTRATOR), (ADMINISTRATOR, CONTACT)],
)
def test_the_registered_people_of_the_office_may_act(case, now, sender, token_of):
    assert isinstance(take_up(case, reply(now, WITHDRAW, sender=sender, token_of=token_of), now), Handled)
    assert state_of(case) == "withdrawn"


def test_an_aligned_signature_is_as_good_as_a_trusted_network(case, now):
    mail = reply(now, WITHDRAW, trusted=False, signed_by=("APPLICANT.example",))
    assert isinstance(take_up(case, mail, now), Handled)
    assert state_of(case) == "withdrawn"


UNBELIEVED: dict[str, tuple[dict[str, Any], HoldReason]] = {
    "a valid token from a stranger": ({"sender": STRANGER}, HoldReason.NOT_OF_CASE),
    "a signed stranger": (
        {"sender": STRANGER, "trusted": False, "signed_by": ("elsewhere.example",)},
        HoldReason.NOT_OF_CASE,
    ),
    "a valid token and nothing that proves From": ({"trusted": False}, HoldReason.UNVERIFIED),
    "a signature of another domain": (
        {"trusted": False, "signed_by": ("elsewhere.example",)},
        HoldReason.UNVERIFIED,
    ),
    "a stranger with a forged token": (
        {"sender": STRANGER, "rcpt_to": f"case+{NUMBER}.aaaaaaaaaaaaaaaa@nss.center.example"},
        HoldReason.NOT_OF_CASE,
    ),
    "two authors": (
        {"raw": b"From: x@applicant.example\r\n" + written(WITHDRAW)},
        HoldReason.NO_SINGLE_AUTHOR,
    ),
}


@only_sqlite
@pytest.mark.parametrize("name", UNBELIEVED)
def test_a_mail_of_somebody_else_is_held_and_told(case, now, name):
    mail, reason = UNBELIEVED[name]
    assert take_up(case, reply(now, WITHDRAW, **mail), now) == Held(reason.in_english)
    assert state_of(case) == "received"
    assert sorted(queued(case)) == TOLD
    assert STRANGER not in {address for _, address in queued(case)}


def test_what_was_held_is_audited_with_its_case(case, now):
    mail = reply(now, WITHDRAW, sender=STRANGER)
    take_up(case, mail, now)
    detail = f"{HoldReason.NOT_OF_CASE.in_english}; office CT0001; about {NUMBER}"
    assert audited(case, f"mail:{mail.mail_id}") == [("application_held", "gateway", detail)]


def test_an_unregistered_notice_address_acts_once_a_reviewer_accepted_it(case, now):
    address = "new-person@applicant.example"
    change_application(case, applicant_email=address)
    mail = reply(now, WITHDRAW, sender=address, token_of=address)
    assert take_up(case, mail, now) == Held(HoldReason.ADDRESS_NOT_ACCEPTED.in_english)
    decided(case, Event.ACCEPT_ADDRESS, now)
    again = reply(now, WITHDRAW, sender=address, token_of=address)
    assert isinstance(take_up(case, again, now), Handled)
    assert state_of(case) == "withdrawn"


def test_a_forged_token_is_a_mail_without_a_token(case, now):
    forged = f"case+{NUMBER}.aaaaaaaaaaaaaaaa@nss.center.example"
    assert isinstance(take_up(case, reply(now, "【照会】\n", rcpt_to=forged), now), Handled)
    change_application(case, state="withdrawn")
    later = take_up(case, reply(now, "【照会】\n", rcpt_to=forged), now)
    assert later == Held(HoldReason.CASE_CLOSED.in_english)


def test_a_valid_token_finds_a_closed_case(case, now):
    change_application(case, state="withdrawn")
    assert isinstance(take_up(case, reply(now, "【照会】\n"), now), Handled)


def test_a_case_nobody_knows_is_held_for_the_reviewer_alone(case, now):
    mail = reply(now, WITHDRAW, number="260099A")
    assert take_up(case, mail, now) == Held(HoldReason.CASE_UNKNOWN.in_english)
    assert queued(case) == [(WAITING, REVIEWER)]


@only_sqlite
@pytest.mark.parametrize("subject", [f"{NUMBER} について", "２６０００１ａ", "Re: 260001a"])
def test_a_mail_to_apply_that_names_an_open_case_joins_it(case, now, subject):
    assert take_up(case, to_apply(now, WITHDRAW, subject=subject), now) == Handled(f"withdrawal of {NUMBER}")


def test_a_mail_without_a_mark_joins_by_the_number_in_its_text(case, now):
    outcome = take_up(case, to_apply(now, f"受付番号 {NUMBER} の状況を教えてください。\n"), now)
    assert outcome == Handled(f"question about {NUMBER}")
    assert queued(case) == [(STATUS, CONTACT)]


@only_sqlite
@pytest.mark.parametrize("sender", [STRANGER, "umiyama@second.example"])
def test_a_stranger_who_names_a_case_is_held(case, now, sender):
    mail = to_apply(now, WITHDRAW, subject=NUMBER, sender=sender)
    assert take_up(case, mail, now) == Held(HoldReason.NOT_OF_CASE.in_english)
    assert state_of(case) == "received"


def test_a_mail_that_names_a_closed_case_is_held(case, now):
    change_application(case, state="rejected")
    assert take_up(case, to_apply(now, WITHDRAW, subject=NUMBER), now) == Held(HoldReason.CASE_CLOSED.in_english)


def test_a_mail_that_names_two_cases_is_not_guessed(case, now):
    receive(case, now, "260002A")
    mail = to_apply(now, WITHDRAW, subject=f"{NUMBER} と 260002A")
    assert take_up(case, mail, now) == Held(HoldReason.SEVERAL_CASES.in_english)
    assert queued(case) == [(WAITING, REVIEWER)]


def test_a_number_of_no_case_makes_no_case_mail(case, now):
    outcome = take_up(case, to_apply(now, "260099A の件です。\n"), now)
    assert outcome == Refused("application with 1 errors, answered to its author")


@only_sqlite
@pytest.mark.parametrize("above", ["", "【修正】\n"])
def test_a_whole_form_is_an_application_of_its_own(store, now, above):
    take_contracts(store, now)
    take_in(store, application_mail(now), now)
    raw = mail_with(above + form_with({"変更申込の備考/備考": f"{NUMBER} の続きです"}))
    raw = raw.replace(b"<1@applicant.example>", b"<2@applicant.example>")
    assert take_up(store, application_mail(now, raw), now) == Handled("received as 260002A")
    assert application(store).state == application(store, "260002A").state == "received"


def test_quoted_numbers_and_forms_are_nobodys(case, now):
    text = f"【取下げ】\n\n> {NUMBER}\n"
    outcome = take_up(case, to_apply(now, text), now)
    assert isinstance(outcome, Refused)
    assert state_of(case) == "received"


@only_sqlite
@pytest.mark.parametrize(
    "field",
    [
        "Auto-Submitted: auto-replied",
        "X-Autoreply: yes",
        "Precedence: auto_reply",
        "List-Id: <l.example>",
    ],
)
def test_a_machine_is_never_answered_and_answers_no_inquiry(case, now, field):
    change_application(case, state="inquiry")
    raw = field.encode() + b"\r\n" + written("3台です。\n")
    assert isinstance(take_up(case, reply(now, "", raw=raw), now), Refused)
    assert state_of(case) == "inquiry"
    assert queued(case) == []
    assert entries(case) == []


@only_sqlite
@pytest.mark.parametrize("subject", ["自動応答: 【NSS】利用申込受付完了のお知らせ", "Automatic reply: x", "不在通知"])
def test_a_subject_of_somebody_away_is_a_sign_without_a_mark_only(case, now, subject):
    change_application(case, state="inquiry")
    away = reply(now, "", raw=written("本日は休暇です。\n", subject=subject))
    assert isinstance(take_up(case, away, now), Refused)
    marked = reply(now, "", raw=written("【回答】\n3台です。\n", subject=subject))
    assert isinstance(take_up(case, marked, now), Handled)


def test_the_null_sender_is_never_answered(case, now):
    assert isinstance(take_up(case, reply(now, "いかがでしょうか。\n", mail_from=""), now), Refused)
    assert queued(case) == []
    assert isinstance(take_up(case, reply(now, "【照会】\n", mail_from=""), now), Refused)
    assert queued(case) == [("reviewer/automatic-form", DESK.reviewer_address)]


@only_sqlite
def test_a_reply_that_wants_no_automatic_answer_answers_the_inquiry_of_whom_it_is(case, now):
    change_application(case, state="inquiry")
    raw = b"X-Auto-Response-Suppress: All\r\n" + written("3台です。\n")
    assert isinstance(take_up(case, reply(now, "", raw=raw, trusted=False), now), Refused)
    assert isinstance(take_up(case, reply(now, "", raw=raw), now), Handled)
    assert state_of(case) == "under_review"


def test_the_same_mail_again_has_no_second_effect(case, now):
    mail = reply(now, "【照会】\n")
    take_up(case, mail, now)
    again = replace(mail, mail_id=9, received_at=now + timedelta(days=1))
    assert take_up(case, again, now) == Duplicate(f"the same mail as {mail.mail_id}")
    assert queued(case) == [(STATUS, CONTACT)]


def test_one_mail_to_two_tokens_of_a_case_acts_once(case, now):
    mail = reply(now, "【照会】\n")
    take_up(case, mail, now)
    other = f"case+{NUMBER}.{case_token(DESK.token_key, NUMBER, ADMINISTRATOR)}@nss.center.example"
    assert isinstance(take_up(case, replace(mail, rcpt_to=other), now), Duplicate)


def test_one_mail_to_a_case_and_to_the_apply_address_is_lost_at_neither(case, now):
    mail = reply(now, WITHDRAW)
    at_apply = take_up(case, replace(mail, rcpt_to="apply@nss.center.example"), now)
    assert isinstance(at_apply, Refused)  # it is no application, and its author was told
    assert isinstance(take_up(case, mail, now), Handled)
    assert state_of(case) == "withdrawn"


def test_a_used_message_id_with_other_words_is_held(case, now):
    mail = reply(now, "【照会】\n")
    take_up(case, mail, now)
    changed = replace(mail, raw=mail.raw.replace(b"Subject: ", b"Subject: x "))
    assert take_up(case, changed, now) == Held(HoldReason.MESSAGE_ID_REUSED.in_english)


def test_a_mail_in_two_processes_at_once_acts_once(case, store_url, now):
    mail = reply(now, WITHDRAW)

    def take(_process):
        with opened(store_url) as own:
            return take_up(own, mail, now)

    with ThreadPoolExecutor(2) as processes:
        outcomes = list(processes.map(take, range(2)))
    assert {type(outcome) for outcome in outcomes} == {Handled, Duplicate}
    assert len(entries(case, "withdrawal")) == 1


def test_two_people_who_withdraw_at_once_withdraw_once(case, store_url, now):
    mails = [reply(now, WITHDRAW, sender=person, token_of=person) for person in (CONTACT, ADMINISTRATOR)]

    def take(mail):
        with opened(store_url) as own:
            return take_up(own, mail, now)

    with ThreadPoolExecutor(2) as processes:
        outcomes = list(processes.map(take, mails))
    assert all(isinstance(outcome, Handled) for outcome in outcomes)
    assert len(entries(case, "withdrawal")) == len(entries(case, "question")) == 1


def test_no_token_is_kept_in_what_people_are_told(case, now):
    token = case_token(DESK.token_key, NUMBER, CONTACT)
    mail = reply(now, f"【取下げ】\ncase+{NUMBER}.{token.upper()}@nss.center.example へ送りました。\n")
    take_up(case, mail, now)
    take_up(case, reply(now, WITHDRAW, sender=STRANGER), now)
    assert "へ送りました。" in entries(case)[-1].words
    assert all(token not in (entry.words + entry.detail).lower() for entry in entries(case))


@only_sqlite
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.binary(max_size=120), body=st.binary(max_size=300))
def test_no_bytes_raise_or_act_without_an_author(case, now, head, body):
    for address in ("apply", f"case+{NUMBER}.aaaaaaaaaaaaaaaa"):
        mail = application_mail(
            now, head + b"\r\n\r\n" + body, rcpt_to=f"{address}@nss.center.example", mail_from=STRANGER
        )
        assert take_up(case, mail, now).state in ("held", "refused", "duplicate")
    assert state_of(case) == "received"


def test_an_application_and_its_reply_meet_by_the_address_in_its_mail(store, now):
    take_contracts(store, now)
    take_in(store, application_mail(now), now)
    assert isinstance(take_up(store, reply(now, WITHDRAW), now), Handled)
    assert (NEWS, REVIEWER) in queued(store)
