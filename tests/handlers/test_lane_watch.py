"""Destinations that are down and messages that were given up: told once, many in one mail."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from handlers import lane_watch
from handlers.lane_pauses import pause_for_work, resume_after_work
from storage.models import Lane, LanePause, Recipient
from storage.states import State
from storage.store import Store, new_key
from tests.handlers.review_cases import DESK
from tests.handlers.watch_cases import ALARM, LANE, add_down, add_messages, change, texts

DOWN = "destination-down"
GAVE_UP = "delivery-gave-up"
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def watch(store, now):
    return store.run(lambda session: lane_watch.watch(session, DESK, now, alarm_after=ALARM))


def is_due(store, now):
    return store.read(lambda session: lane_watch.is_down_due(session, now, alarm_after=ALARM))


def told_at(store, lane=LANE):
    return store.read(lambda session: session.get_one(Lane, lane).told_at)


def tell_gave_up(store, now):
    return store.run(lambda session: lane_watch.tell_gave_up(session, DESK, now))


def gave_up_for(store, now):
    return store.read(lambda session: lane_watch.gave_up_for(session, now))


def side_by_side(store, work):
    """The same work on two stores at once."""
    other = Store.open(str(store.engines.url.render_as_string(hide_password=False)), "test")
    done = []
    threads = [threading.Thread(target=lambda one=one: done.append(work(one))) for one in (store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    return sorted(done)


def test_a_terminal_that_is_down_for_five_minutes_is_told_once(store, now):
    add_down(store, LANE, now, next_try_at=now + 7 * MINUTE)
    add_messages(store, LANE, 3, now, State.QUEUED)
    before = now + ALARM - timedelta(seconds=1)
    assert (is_due(store, before), watch(store, before)) == (False, 0)
    assert is_due(store, now + ALARM)
    assert watch(store, now + ALARM) == 1
    assert told_at(store) == now + ALARM
    assert (is_due(store, now + HOUR), watch(store, now + HOUR)) == (False, 0)
    (text,) = texts(store, DOWN)
    for words in (
        LANE,
        "2026年11月24日 10:00",
        "2026-11-24 10:00+09:00",
        "Connection refused",
        "待ち件数 / Waiting : 3",
        "2026-11-24 10:07+09:00",
        "destination flush",
        "destination pause",
    ):
        assert words in text
    assert "Paused" not in text
    assert "Endpoint" not in text


def test_the_backend_is_told_at_once_with_the_endpoint_in_use(store, now):
    add_down(store, "backend", now, endpoint="backup")
    assert watch(store, now) == 1
    (text,) = texts(store, DOWN)
    assert "使用中の接続先 / Endpoint : backup" in text
    assert "naccs-gateway destination switch backend --to backup\n" in text


def test_a_destination_that_came_back_and_is_down_again_is_told_again(store, now):
    add_down(store, LANE, now)
    watch(store, now + ALARM)
    change(store, Lane, LANE, down_since=None, told_at=None)
    assert watch(store, now + HOUR) == 0
    change(store, Lane, LANE, down_since=now + HOUR)
    assert watch(store, now + HOUR + ALARM) == 1
    assert len(texts(store, DOWN)) == 2


def test_a_destination_that_is_up_is_never_told(store, now):
    add_down(store, LANE, None)
    assert watch(store, now + HOUR) == 0


def test_a_paused_destination_says_so(store, now):
    add_down(store, LANE, now)
    pause = {"lane": LANE, "paused_at": now, "actor": "os:operator", "reason": "work on the line"}
    store.run(lambda session: session.add(LanePause(id=new_key(session), **pause)))
    watch(store, now + ALARM)
    assert "一時停止中 / Paused" in texts(store, DOWN)[0]


def test_while_work_pauses_a_lane_nobody_is_told_nor_before_it_had_time_to_answer(store, now):
    add_down(store, LANE, now)
    end = now + HOUR
    store.run(lambda session: pause_for_work(session, 17, "260001A", [LANE], now))
    assert (is_due(store, end), watch(store, end)) == (False, 0)
    assert store.run(lambda session: resume_after_work(session, 17, "260001A", end)) == [LANE]
    assert (is_due(store, end + ALARM - MINUTE), watch(store, end + ALARM - MINUTE)) == (False, 0)
    assert watch(store, end + ALARM) == 1
    assert len(texts(store, DOWN)) == 1


def test_many_at_once_are_one_mail_with_the_backend_first(store, now):
    for number in range(30):
        add_down(store, f"terminal:6{number:04d}S", now)
    add_down(store, "backend", now)
    assert watch(store, now + ALARM) == 31
    assert watch(store, now + ALARM) == 0
    (text,) = texts(store, DOWN)
    assert text.index("(1) backend") < text.index("(2) terminal:60000S")
    assert text.count("Down since") == 20
    assert "ほかに11件" in text


def test_an_outage_above_the_hours_limit_is_told_when_there_is_room_again(store, now):
    add_down(store, "backend", now)
    for minute in range(31):
        watch(store, now + minute * MINUTE)
        if minute < 30:
            assert told_at(store, "backend") == now + minute * MINUTE
            change(store, Lane, "backend", told_at=None)
    assert told_at(store, "backend") is None
    assert is_due(store, now + 31 * MINUTE)
    mails = texts(store, DOWN)
    assert len(mails) == 30
    assert ["last such mail" in mail for mail in mails] == [False] * 29 + [True]
    assert watch(store, now + HOUR) == 1


def test_two_who_watch_tell_of_a_destination_once(store, now):
    for number in range(5):
        add_down(store, f"terminal:6{number:04d}S", now)
    assert side_by_side(store, lambda one: watch(one, now + ALARM)) == [0, 5]
    assert len(texts(store, DOWN)) == 1


def test_words_of_a_peer_cannot_break_the_mail(store, now):
    add_down(store, "backend", now)
    change(store, Lane, "backend", last_failure="451 \x1b[0m" + "x" * 500)
    watch(store, now)
    assert "451 [U+001B][0mxxx" in texts(store, DOWN)[0].replace("\n    ", "")


def test_what_was_given_up_is_told_once_an_hour_for_each_destination(store, now):
    add_messages(store, LANE, 4, now)
    assert gave_up_for(store, now) == [LANE]
    assert tell_gave_up(store, now) == 1
    (text,) = texts(store, GAVE_UP)
    assert "通数 / Messages : 4" in text
    assert "terminal undelivered" in text
    add_messages(store, LANE, 2, now + MINUTE)
    assert gave_up_for(store, now + 59 * MINUTE) == []
    assert tell_gave_up(store, now + 59 * MINUTE) == 0
    add_messages(store, "terminal:60001S", 1, now + MINUTE)
    assert tell_gave_up(store, now + 2 * MINUTE) == 1
    assert tell_gave_up(store, now + HOUR) == 1
    assert tell_gave_up(store, now + 9 * HOUR) == 0
    assert ["2 message(s)" in mail for mail in texts(store, GAVE_UP)] == [False, False, True]


def test_what_was_fetched_meanwhile_or_is_a_day_old_is_no_news(store, now):
    add_messages(store, LANE, 1, now - timedelta(days=1))
    add_messages(store, "terminal:60001S", 1, now, State.DELIVERED)
    assert gave_up_for(store, now) == []
    assert tell_gave_up(store, now) == 0
    assert texts(store, GAVE_UP) == []


def test_many_destinations_are_one_mail_with_the_worst_first(store, now):
    for number in range(25):
        add_messages(store, f"terminal:6{number:04d}S", 1 + number, now)
    assert tell_gave_up(store, now) == 25
    (text,) = texts(store, GAVE_UP)
    assert "電文325通" in text
    assert text.index("terminal:60024S") < text.index("terminal:60023S")
    assert "terminal:60004S" not in text
    assert "ほかに5件" in text


def test_two_who_watch_tell_of_what_was_given_up_once(store, now):
    add_messages(store, LANE, 4, now)
    assert side_by_side(store, lambda one: tell_gave_up(one, now)) == [0, 1]
    assert len(texts(store, GAVE_UP)) == 1


@pytest.mark.parametrize("state", [State.QUEUED, State.PARKED, State.FAILED, State.EXPIRED])
def test_only_undelivered_is_given_up(store, now, state):
    add_messages(store, LANE, 1, now, state)
    assert gave_up_for(store, now) == []


def test_a_restart_tells_nothing_twice(store, now):
    add_down(store, LANE, now)
    add_messages(store, "terminal:60001S", 2, now)
    watch(store, now + ALARM)
    tell_gave_up(store, now + ALARM)
    again = Store.open(str(store.engines.url.render_as_string(hide_password=False)), "test")
    assert watch(again, now + ALARM + MINUTE) == 0
    assert tell_gave_up(again, now + ALARM + MINUTE) == 0
    again.close()


def test_what_waits_is_counted_for_the_destination_alone(store, now):
    add_down(store, LANE, now)
    add_down(store, "terminal:60001S", now)
    add_messages(store, LANE, 2, now, State.QUEUED)
    assert store.read(lambda session: session.query(Recipient).count()) == 2
    watch(store, now + ALARM)
    (text,) = texts(store, DOWN)
    assert text.count("Waiting : 0") == 1
    assert text.count("Waiting : 2") == 1
