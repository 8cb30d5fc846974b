"""Finding mails, the newest first, a page at a time (semantics §2: readers finish within 1 s)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from handlers import mail_search
from handlers.mail_search import MailFilter, NoSuchName, page, search
from storage.keys import key_instant
from storage.models import Recipient
from storage.states import Direction, State
from tests.handlers import stuck_messages
from tests.handlers.exchanged_mails import add_mail, add_recipient, mail_of, request, result, set_outbound
from tests.handlers.review_cases import WITH_SMTP_SERVER, receive, take_contracts
from tests.handlers.test_terminals import ADDRESS


@pytest.fixture
def binding(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    return stuck_messages.bound(store)


def found(store, limit=100, **wanted):
    wanted.setdefault("keys_tell_time", False)

    def work(session):
        meant = search(session, MailFilter(**wanted))
        ids, before = [], None
        while True:
            read = page(session, meant, before, limit)
            ids += [mail.id for mail in read.mails]
            before = read.before
            if before is None:
                return ids

    return store.read(work)


def letter(store, now, rcpt_to="apply@nss.center.example", state=State.RECEIVED, **values):
    def work(session):
        mail = add_mail(session, now, listener="public", **values)
        add_recipient(session, mail, now, rcpt_to=rcpt_to, state=state)
        return mail.id

    return store.run(work)


def test_a_request_and_its_result_are_found_by_whatever_names_them(store, now, binding):
    asked = request(store, binding, now, "H1")
    mail_id = mail_of(store, asked)
    answer = result(store, binding, now, asked)
    other = letter(store, now, mail_from="a@x.example", message_id="<m1@x.example>")
    assert found(store, terminal="60777s") == [answer, mail_id]
    assert found(store, address=f"<{ADDRESS.lower()}>") == [answer, mail_id]
    assert found(store, handover=" H1 ") == [answer, mail_id]
    assert found(store, handover="H2") == []
    assert found(store, mail_ids=(mail_id, 17)) == [mail_id]
    assert found(store, message_id="<m1@x.example>") == found(store, message_id="m1@x.example") == [other]
    assert found(store, message_id=f"<{answer}@smtp.center.example>") == [answer]
    assert found(store, address="A@x.example") == [other]
    assert found(store) == [other, answer, mail_id]


def test_states_and_direction_are_those_of_one_recipient(store, now, binding):
    mail_id = mail_of(store, request(store, binding, now))
    assert found(store, states=frozenset({State.QUEUED})) == [mail_id]
    assert found(store, states=frozenset({State.HANDLED}), direction=Direction.INBOUND) == [mail_id]
    assert found(store, states=frozenset({State.HANDLED}), direction=Direction.OUTBOUND) == []
    set_outbound(store, mail_id, state=State.PARKED)
    assert found(store, states=frozenset({State.PARKED, State.QUEUED})) == [mail_id]
    assert found(store, states=frozenset({State.QUEUED})) == []


def test_results_that_match_no_request_are_found(store, now, binding):
    matched = result(store, binding, now, request(store, binding, now))
    unmatched = result(store, binding, now, None)
    assert found(store, unmatched=True) == [unmatched]
    assert matched not in found(store, unmatched=True, terminal="60777S")


def test_the_mails_of_an_application_are_found_by_its_receipt_number(store, now):
    take_contracts(store, now)
    came = letter(store, now)
    receive(store, now, "260001A", mail_id=came)
    letter(store, now)
    assert found(store, receipt="２６０００１ａ") == [came]


def test_what_names_nothing_known_is_told(store, now):
    for name, value in (("terminal", "99999S"), ("receipt", "269999A")):
        with pytest.raises(NoSuchName) as unknown:
            found(store, **{name: value})
        assert (unknown.value.kind, unknown.value.value) == (name, value)


def test_a_time_is_exact_whatever_the_clock(store, now):
    mail_id = letter(store, now)
    assert found(store, since=now, until=now + timedelta(seconds=1)) == [mail_id]
    assert found(store, since=now + timedelta(microseconds=1)) == found(store, until=now) == []


def test_keys_bound_a_time_where_the_clock_does_not_move(store):
    received_at = key_instant(store.new_key())
    mail_id = letter(store, received_at)
    second = timedelta(seconds=1)
    for since, until, ids in ((-second, second, [mail_id]), (second, 2 * second, []), (-2 * second, -second, [])):
        assert found(store, since=received_at + since, until=received_at + until, keys_tell_time=True) == ids


def test_pages_follow_one_another_whatever_lies_between(store, now, monkeypatch):
    monkeypatch.setattr(mail_search, "MAILS_LOOKED_AT", 3)
    rare = [letter(store, now, state=State.PARKED if at % 4 == 0 else State.HANDLED) for at in range(10)][::4]
    assert found(store, states=frozenset({State.PARKED})) == rare[::-1]
    assert found(store, states=frozenset({State.PARKED}), limit=1) == rare[::-1]
    assert len(found(store, limit=2)) == 10


def test_a_search_gives_the_recipients_it_means_and_no_others(store, now, binding):
    mail_id = mail_of(store, request(store, binding, now))

    def lanes(session, **wanted) -> list[str | None]:
        meant = search(session, MailFilter(**wanted))
        rows: list[Recipient] = list(meant.recipients(session, [mail_id]))
        return [row.lane for row in rows]

    assert store.read(lanes) == [None, "backend"]
    assert store.read(lambda session: lanes(session, states=frozenset({State.QUEUED}))) == ["backend"]
