from __future__ import annotations

from datetime import timedelta

from handlers import notice_rates

KIND = "kind"
SECOND = timedelta(seconds=1)


def may_tell(store, now, kind=KIND):
    return store.read(lambda session: notice_rates.may_tell(session, kind, now))


def waits(store, kind=KIND):
    return store.read(lambda session: notice_rates.waits(session, kind))


def told(store, now):
    store.run(lambda session: notice_rates.told(session, KIND, now))


def put_off(store, now):
    store.run(lambda session: notice_rates.put_off(session, KIND, now))


def test_the_first_few_leave_at_once_and_later_ones_after_a_gap(store, now):
    for number in range(notice_rates.AT_ONCE):
        assert may_tell(store, now + number * SECOND)
        told(store, now + number * SECOND)
    last = now + (notice_rates.AT_ONCE - 1) * SECOND
    assert not may_tell(store, last + notice_rates.GAP - SECOND)
    assert may_tell(store, last + notice_rates.GAP)
    told(store, last + notice_rates.GAP)
    assert not may_tell(store, last + notice_rates.GAP + SECOND)
    assert may_tell(store, last + timedelta(hours=2))


def test_one_kind_does_not_use_up_another(store, now):
    for _ in range(notice_rates.AT_ONCE):
        told(store, now)
    assert may_tell(store, now, "other")


def test_what_was_put_off_waits_until_a_notice_leaves(store, now):
    assert not waits(store)
    put_off(store, now)
    put_off(store, now)
    assert waits(store)
    assert not waits(store, "other")
    told(store, now)
    assert not waits(store)
    put_off(store, now)
    assert waits(store)


def test_the_last_notice_is_remembered(store, now):
    assert store.read(lambda session: notice_rates.last_told(session, KIND)) is None
    told(store, now)
    told(store, now + SECOND)
    assert store.read(lambda session: notice_rates.last_told(session, KIND)) == now + SECOND
