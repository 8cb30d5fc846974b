"""Requests without a result (semantics §5): late after 120 s, overdue after 180 s, in doubt overdue at once."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from handlers import notice_rates
from storage.models import Request
from storage.store import Store
from tests.handlers.watch_cases import (
    add_requests,
    change,
    events,
    is_due,
    request_of,
    take_terminal,
    texts,
    watch_once,
    watch_out,
)

MAIL = "request-overdue"


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def marks(store, request_id):
    row = request_of(store, request_id)
    return row.late_at, row.overdue_at


def test_a_request_is_late_at_120_and_overdue_at_180_seconds_from_receipt(store, now):
    take_terminal(store, now)
    (request,) = add_requests(store, now)
    just_before = now + seconds(119.999)
    assert (watch_once(store, just_before), is_due(store, just_before)) == (0, False)
    late = now + seconds(120)
    assert is_due(store, late)
    assert (watch_out(store, late), marks(store, request)) == (1, (late, None))
    assert texts(store, MAIL) == []
    assert not is_due(store, now + seconds(179.9))
    overdue = now + seconds(180)
    assert (watch_out(store, overdue), marks(store, request)) == (1, (late, overdue))
    assert not is_due(store, overdue + timedelta(days=1))
    assert len(texts(store, MAIL)) == 1
    assert [len(events(store, name)) for name in ("request-late", "request-overdue")] == [1, 1]


def test_the_mail_names_the_request_what_happened_and_the_two_actions(store, now):
    take_terminal(store, now)
    (request,) = add_requests(store, now)
    watch_out(store, now + seconds(181))
    (text,) = texts(store, MAIL)
    for words in (
        "3A0001@SMTP.CT0001.CENTER.EXAMPLE",
        "60777S",
        "OTA01",
        "00000:01-24100000",
        "2026-11-24 10:00:00",
        "済み 2026-11-24 10:00:01",
        "done, 2026-11-24 10:00:01; no result came",
        "業務をやり直す",
        "障害電文取出し（SYG）を行う",
        "Redo the procedure.",
        "Run SYG",
        "look before redoing it",
    ):
        assert words in text
    assert str(request_of(store, request).input_number) in text
    (detail,) = events(store, "request-overdue")
    assert detail == "OTA01 00000:01-24100000: no result after 181 s; handed over at 2026-11-24 10:00:01"


def test_what_is_in_doubt_is_overdue_at_once_and_listed_first(store, now):
    take_terminal(store, now)
    add_requests(store, now - seconds(200))
    (doubted,) = add_requests(store, now, in_doubt=True, handover="IN-DOUBT")
    assert is_due(store, now + seconds(1), aged=False)
    watch_out(store, now + seconds(1))
    assert marks(store, doubted) == (None, now + seconds(1))
    (text,) = texts(store, MAIL)
    assert text.index("IN-DOUBT") < text.index("00000:01")
    assert "処理された可能性があります" in text
    assert "it may have been executed" in text


def test_a_request_that_was_never_handed_over_says_so(store, now):
    take_terminal(store, now)
    add_requests(store, now, claimed_at=None)
    watch_out(store, now + seconds(180))
    assert "never, and it will not be handed over any more" in texts(store, MAIL)[0]
    assert events(store, "request-overdue")[0].endswith("never handed over")


def test_a_request_that_was_never_handed_over_has_ten_seconds_to_be_answered_before_it_is_late(store, now):
    take_terminal(store, now)
    (request,) = add_requests(store, now, claimed_at=None)
    assert not is_due(store, now + seconds(129))
    assert watch_out(store, now + seconds(129)) == 0
    assert watch_out(store, now + seconds(130)) == 1
    assert marks(store, request) == (now + seconds(130), None)


@pytest.mark.parametrize(
    "values",
    [{"answered_at": True}, {"outstanding_until": None}, {"overdue_at": True, "late_at": True}],
    ids=["answered", "no result awaited", "marked already"],
)
def test_nothing_is_said_of_a_request_that_waits_for_nothing(store, now, values):
    filled = {name: now if value is True else value for name, value in values.items()}
    add_requests(store, now, **filled)
    assert not is_due(store, now + seconds(500))
    assert watch_out(store, now + seconds(500)) == 0
    assert texts(store, MAIL) == []


def test_while_the_clock_is_not_trusted_only_what_is_in_doubt_is_marked(store, now):
    take_terminal(store, now)
    (old,) = add_requests(store, now)
    (doubted,) = add_requests(store, now, in_doubt=True)
    later = now + timedelta(hours=1)
    assert watch_out(store, later, aged=False) == 1
    assert (marks(store, old), marks(store, doubted)) == ((None, None), (None, later))
    assert not is_due(store, later, aged=False)
    assert is_due(store, later)


def test_a_thousand_at_once_are_a_thousand_events_and_one_mail(store, now):
    take_terminal(store, now)
    add_requests(store, now, 1000)
    later = now + seconds(300)
    assert watch_once(store, later) == 100
    assert watch_out(store, later) == 1900
    assert [len(events(store, name)) for name in ("request-late", "request-overdue")] == [1000, 1000]
    (text,) = texts(store, MAIL)
    assert text.count("OTA01") == 20
    assert "ほかに980件" in text
    assert "980 more" in text
    assert not is_due(store, later + timedelta(hours=1))


def test_a_unit_of_work_that_ended_the_process_is_told_by_the_next_process(store, now):
    take_terminal(store, now)
    add_requests(store, now, 150)
    change_late = now + seconds(130)
    watch_out(store, change_late)
    assert watch_once(store, now + seconds(200)) == 100
    assert texts(store, MAIL) == []
    again = Store.open(str(store.engines.url.render_as_string(hide_password=False)), "test")
    try:
        watch_out(again, now + seconds(201))
        watch_out(again, now + seconds(202))
    finally:
        again.close()
    (text,) = texts(store, MAIL)
    assert "処理要求電文150件" in text
    assert len(events(store, "request-overdue")) == 150


def test_what_comes_one_by_one_is_told_at_once_then_summed_up_and_nothing_is_left_untold(store, now):
    take_terminal(store, now)
    for second in range(9):
        add_requests(store, now + seconds(second), handover=f"H{second}")
        watch_out(store, now + seconds(180 + second))
    assert len(texts(store, MAIL)) == notice_rates.AT_ONCE
    last = now + seconds(180 + notice_rates.AT_ONCE - 1)
    assert not is_due(store, last + notice_rates.GAP - seconds(1))
    assert is_due(store, last + notice_rates.GAP)
    assert watch_out(store, last + notice_rates.GAP) == 0
    summary = texts(store, MAIL)[-1]
    assert [f"H{number}" in summary for number in range(9)] == [False] * 5 + [True] * 4
    assert len(texts(store, MAIL)) == notice_rates.AT_ONCE + 1
    assert not is_due(store, last + timedelta(hours=2))


def test_what_was_answered_while_it_waited_to_be_told_is_not_told(store, now):
    take_terminal(store, now)
    ids = [add_requests(store, now, handover=f"H{number}")[0] for number in range(6)]
    for number, request in enumerate(ids):
        change(store, Request, request, received_at=now - seconds(5 - number))
        watch_out(store, now + seconds(175 + number))
    assert len(texts(store, MAIL)) == 5
    change(store, Request, ids[-1], answered_at=now + seconds(190))
    watch_out(store, now + timedelta(minutes=30))
    assert len(texts(store, MAIL)) == 5
    assert not is_due(store, now + timedelta(hours=3))


def test_a_clock_that_was_put_back_hides_nothing(store, now):
    take_terminal(store, now)
    add_requests(store, now, handover="FIRST")
    watch_out(store, now + seconds(200))
    add_requests(store, now - seconds(10), handover="SECOND")
    watch_out(store, now + seconds(195))
    assert "SECOND" in texts(store, MAIL)[-1]


def test_two_who_watch_mark_each_request_once(store, now):
    take_terminal(store, now)
    add_requests(store, now, 250)
    url = str(store.engines.url.render_as_string(hide_password=False))
    others = [store, Store.open(url, "test")]
    marked = []
    threads = [
        threading.Thread(target=lambda one=one: marked.append(watch_out(one, now + seconds(200)))) for one in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watch_out(store, now + seconds(201))
    others[1].close()
    assert sum(marked) <= 500
    assert [len(events(store, name)) for name in ("request-late", "request-overdue")] == [250, 250]
    assert 1 <= len(texts(store, MAIL)) <= 2


def test_a_request_of_an_address_that_is_gone_is_told_too(store, now):
    add_requests(store, now, address_id=4711)
    watch_out(store, now + seconds(180))
    assert len(texts(store, MAIL)) == 1


def test_what_a_peer_sent_cannot_break_the_mail(store, now):
    take_terminal(store, now)
    add_requests(store, now, handover="\x1b[31mX\u202eY")
    watch_out(store, now + seconds(180))
    assert "[U+001B][31mX[U+202E]Y" in texts(store, MAIL)[0]
