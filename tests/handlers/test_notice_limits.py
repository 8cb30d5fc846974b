from __future__ import annotations

from datetime import timedelta

from handlers.notice_limits import Allowance, take


def taken(store, now, kind="kind", at_most=2):
    return store.run(lambda session: take(session, kind, at_most, now))


def test_so_many_in_an_hour_and_the_last_one_is_marked(store, now):
    answers = [taken(store, now + timedelta(minutes=minute)) for minute in range(3)]
    assert answers == [Allowance(granted=True), Allowance(granted=True, last=True), Allowance(granted=False)]


def test_an_hour_later_there_is_room_again(store, now):
    taken(store, now, at_most=1)
    assert not taken(store, now + timedelta(minutes=59, seconds=59), at_most=1).granted
    assert taken(store, now + timedelta(hours=1), at_most=1).granted


def test_one_kind_does_not_use_up_another(store, now):
    taken(store, now, "one", at_most=1)
    assert taken(store, now, "other", at_most=1).granted
