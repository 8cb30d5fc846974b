"""What each conditional change expects to find, on both stores (semantics §2, §4, §5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update

from storage import effects
from storage.columns import to_micros
from storage.committer import Committer, Outcome
from storage.effects import (
    ADDRESS_FREE,
    CHANGE_ORDER,
    LANE_BREAKER,
    LANE_ENDPOINT,
    LANE_HEARD,
    REQUEST,
    REQUEST_ANSWERED,
    REQUEST_CLAIMED,
    REQUEST_IN_DOUBT,
    REQUEST_REFUSED,
    REQUEST_UNCLAIMED,
    RESULT_CORRELATED,
    Applied,
    Change,
    ChangeKind,
    Insert,
    Stale,
    Unit,
)
from storage.lane_leases import lease_lane
from storage.models import Lane, Recipient, Request
from storage.store import Store
from tests.storage.test_database import running
from tests.storage.units import accepted, outbound

LIFE = timedelta(seconds=120)
ADDRESS, OTHER = 77, 78
KEY = ("H", "1")
DONE, STALE = Applied((True,), ()), Stale("state")


def arrived(store: Store, now: datetime) -> int:
    """An inbound recipient; its id."""
    found, unit = accepted(store.new_key, now)
    assert Committer(store).commit([unit]) == [Applied()]
    return found.recipient_id


def request(
    store: Store,
    now: datetime,
    *,
    address: int = ADDRESS,
    key: tuple[str, str] = KEY,
    awaited: bool = True,
    **values: Any,
) -> int:
    """A request that came at `now`; its id. `awaited` False: of a family whose results nobody waits for."""
    made = arrived(store, now)
    until = to_micros(now + LIFE) if awaited else None
    row = Insert(REQUEST, (made, address, "OTA", *key, to_micros(now), until, None, None))
    assert Committer(store).commit([Unit(inserts=(row,))]) == [Applied()]
    if values:
        store.run(lambda session: session.execute(update(Request).where(Request.id == made).values(**values)))
    return made


def found(store: Store, request_id: int) -> Request:
    return store.read(lambda session: session.get_one(Request, request_id))


def recipient(store: Store, recipient_id: int) -> Recipient:
    return store.read(lambda session: session.get_one(Recipient, recipient_id))


def one(store: Store, change: Change, *more: Change) -> Outcome:
    (outcome,) = Committer(store).commit([Unit(changes=(change, *more))])
    return outcome


def leased(store: Store, lane: str = "backend") -> int:
    store.run(lambda session: lease_lane(session, lane, store.claim.node, store.lease_token, alone=True))
    return store.lease_token


# Results and their requests.


def result(store: Store, now: datetime, *, address: int = ADDRESS, key: tuple[str, str] = KEY) -> int | None:
    """A result comes and ends its request; the request it was correlated to, which is the one that it ended."""
    recipient_id, mail_id = arrived(store, now), store.new_key()
    about = (address, *key, to_micros(now))
    belongs = Change(RESULT_CORRELATED, (recipient_id, *about), must=False)
    ends = Change(REQUEST_ANSWERED, (mail_id, *about), must=False)
    outcome = one(store, belongs, ends)
    assert isinstance(outcome, Applied)
    row = recipient(store, recipient_id)
    assert outcome.found[0] is (row.request_id is not None)
    if outcome.found[1]:
        assert row.request_id is not None
        assert found(store, row.request_id).result_mail_id == mail_id
    return row.request_id


def test_a_result_belongs_to_the_oldest_outstanding_request_and_never_to_one_that_was_not_handed_over(
    store: Store, now: datetime
) -> None:
    long_ago = now - timedelta(minutes=10)
    never_answered = request(store, long_ago, claimed_at=long_ago)
    unclaimed = request(store, now)
    other_family = request(store, long_ago, key=("", ""), awaited=False, claimed_at=long_ago)
    first, second = (request(store, now, claimed_at=now) for _ in range(2))
    answered_here = request(store, now, answered_at=now, result_mail_id=5)
    # One whose result was lost draws no later one to itself, or every later request would wait for nothing.
    assert [result(store, now) for _ in range(3)] == [first, second, never_answered]
    # One request has several outputs; those that come later belong to the latest that is finished.
    assert result(store, now) == second
    assert result(store, now, key=("", "")) is None
    assert found(store, unclaimed).answered_at is None
    assert found(store, answered_here).result_mail_id == 5
    assert found(store, other_family).answered_at is None


def test_a_result_with_another_key_or_address_belongs_to_nobody(store: Store, now: datetime) -> None:
    asked = request(store, now, claimed_at=now)
    assert result(store, now, key=("G", "1")) is None
    assert result(store, now, key=("H", "2")) is None
    assert result(store, now, address=OTHER) is None
    assert found(store, asked).answered_at is None
    assert result(store, now + timedelta(hours=1)) == asked  # however late it is


async def test_results_that_are_committed_together_end_one_request_each(store_url: str, now: datetime) -> None:
    async with running(store_url) as database:
        store = database.store
        asked = [request(store, now, claimed_at=now) for _ in range(2)]
        others = [request(store, now, address=each, claimed_at=now) for each in range(100, 105)]
        units, results = [], []
        for address in (ADDRESS, ADDRESS, *range(100, 105)):
            about = (address, *KEY, to_micros(now))
            results.append(arrived(store, now))
            belongs = Change(RESULT_CORRELATED, (results[-1], *about))
            units.append(Unit(changes=(belongs, Change(REQUEST_ANSWERED, (store.new_key(), *about)))))
        # The first is committed alone; what is handed in meanwhile goes together where it may.
        _, first = accepted(store.new_key, now)
        await asyncio.gather(*(database.apply(unit) for unit in (first, *units)))
        assert database.commits == 3
        assert [recipient(store, each).request_id for each in results] == [*asked, *others]
        assert all(found(store, each).answered_at == now for each in (*asked, *others))


# The hand-over.


def claim(store: Store, request_id: int, at: datetime, token: int | None = None) -> Change:
    return Change(REQUEST_CLAIMED, (request_id, store.lease_token if token is None else token, to_micros(at)))


def test_an_address_has_one_outstanding_request(store: Store, now: datetime) -> None:
    leased(store)
    first, second = (request(store, now) for _ in range(2))
    of_another = request(store, now, address=OTHER)
    assert one(store, claim(store, first, now)) == DONE
    assert one(store, claim(store, first, now)) == STALE
    assert one(store, claim(store, second, now)) == STALE
    assert one(store, claim(store, of_another, now)) == DONE
    # It ends with its result, by the return of an attempt that surely failed, and after 120 s.
    assert one(store, Change(REQUEST_UNCLAIMED, (first,))) == DONE
    assert one(store, claim(store, second, now)) == DONE
    assert one(store, claim(store, first, now)) == STALE
    assert result(store, now) == second
    assert one(store, claim(store, first, now)) == DONE
    third = request(store, now + LIFE / 2)
    just_before = now + LIFE - timedelta(microseconds=1)
    assert one(store, claim(store, third, just_before)) == STALE
    assert one(store, claim(store, third, now + LIFE)) == DONE


def test_of_two_claims_of_an_address_in_one_batch_the_older_request_wins(store: Store, now: datetime) -> None:
    leased(store)
    first, second = (request(store, now) for _ in range(2))
    free = request(store, now, awaited=False)
    of_another = request(store, now, address=OTHER)
    units = [Unit(changes=(claim(store, each, now),)) for each in (second, free, first, of_another)]
    assert Committer(store).commit(units) == [STALE, DONE, DONE, DONE]


def test_a_request_without_an_awaited_result_neither_waits_nor_counts(store: Store, now: datetime) -> None:
    leased(store)
    awaited, free, next_one = request(store, now), request(store, now, awaited=False), request(store, now)
    assert one(store, claim(store, free, now)) == DONE
    assert one(store, claim(store, awaited, now)) == DONE
    also_free = request(store, now, awaited=False)
    assert one(store, claim(store, also_free, now)) == DONE
    assert one(store, claim(store, next_one, now)) == STALE


def test_a_claim_needs_the_lease_and_a_request_without_an_answer(store: Store, now: datetime) -> None:
    asked = request(store, now)
    assert one(store, claim(store, asked, now)) == STALE
    leased(store)
    assert one(store, claim(store, asked, now, token=store.lease_token + 1)) == STALE
    answered = request(store, now, answered_at=now)
    assert one(store, claim(store, answered, now)) == STALE
    assert one(store, claim(store, asked, now)) == DONE


def test_what_may_have_arrived_is_never_answered_here(store: Store, now: datetime) -> None:
    def refused(request_id: int) -> Change:
        return Change(REQUEST_REFUSED, (request_id, to_micros(now), 901))

    waiting, claimed, answered = request(store, now), request(store, now, claimed_at=now), request(store, now)
    assert one(store, refused(waiting)) == DONE
    assert one(store, refused(waiting)) == STALE  # one answer alone
    assert (found(store, waiting).answered_at, found(store, waiting).result_mail_id) == (now, 901)
    assert one(store, refused(claimed)) == STALE
    # Refused for good by the backend: it surely did not arrive, and is answered in the same unit.
    assert one(store, Change(REQUEST_UNCLAIMED, (claimed,)), refused(claimed)) == Applied((True, True), ())
    assert one(store, Change(REQUEST_UNCLAIMED, (claimed,))) == STALE
    assert one(store, Change(REQUEST_IN_DOUBT, (answered,))) == STALE
    in_doubt = request(store, now, claimed_at=now)
    assert one(store, Change(REQUEST_IN_DOUBT, (in_doubt,))) == DONE
    assert found(store, in_doubt).in_doubt


def test_an_address_is_free_when_nothing_of_it_is_awaited_handed_over_or_not(store: Store, now: datetime) -> None:
    def free(at: datetime = now, address: int = ADDRESS) -> bool:
        outcome = one(store, Change(ADDRESS_FREE, (arrived(store, at), address, to_micros(at))))
        assert outcome in (DONE, STALE)
        return outcome == DONE

    assert free()
    request(store, now, awaited=False, claimed_at=now)
    assert free()
    waiting = request(store, now)
    assert not free()
    assert free(address=OTHER)
    assert not free(now + LIFE - timedelta(microseconds=1))
    assert free(now + LIFE)
    store.run(lambda s: s.execute(update(Request).where(Request.id == waiting).values(answered_at=now)))
    assert free()


# Lanes.

LANE = "terminal:60777S"


def lane_row(store: Store, lane: str = LANE) -> Lane:
    return store.read(lambda session: session.get_one(Lane, lane))


def test_a_breaker_is_written_under_the_lease_and_its_closing_forgets_that_the_operator_was_told(
    store: Store, now: datetime
) -> None:
    token = leased(store, LANE)

    def breaker(down_since: datetime | None, failures: int, *, by: int = token) -> Change:
        down = None if down_since is None else to_micros(down_since)
        words = "connection refused" if failures else ""
        return Change(LANE_BREAKER, (LANE, by, down, failures, words, down))

    assert one(store, breaker(now, 1, by=token + 1)) == STALE
    assert one(store, breaker(now, 1)) == DONE
    store.run(lambda session: session.execute(update(Lane).values(told_at=now)))
    assert one(store, breaker(now, 2)) == DONE
    row = lane_row(store)
    assert (row.down_since, row.failures, row.last_failure, row.next_try_at, row.told_at) == (
        now, 2, "connection refused", now, now,
    )  # fmt: skip
    assert one(store, breaker(None, 0)) == DONE
    row = lane_row(store)
    assert (row.down_since, row.failures, row.next_try_at, row.told_at) == (None, 0, None, None)


def test_of_a_terminal_that_was_heard_only_a_lane_that_is_down_is_told(store: Store, now: datetime) -> None:
    token = leased(store, LANE)
    heard = Change(LANE_HEARD, (LANE, to_micros(now)), must=False)
    assert one(store, heard) == Applied((False,), ())
    assert one(store, replace(heard, values=("terminal:NOBODY", 0))) == Applied((False,), ())
    one(store, Change(LANE_BREAKER, (LANE, token, to_micros(now), 1, "x", to_micros(now))))
    assert one(store, heard) == DONE
    assert lane_row(store).flushed_at == now


def test_the_endpoint_in_use_is_written_under_the_lease(store: Store, now: datetime) -> None:
    token = leased(store)
    assert one(store, Change(LANE_ENDPOINT, ("backend", token + 1, "backup", to_micros(now)))) == STALE
    assert one(store, Change(LANE_ENDPOINT, ("backend", token, "backup", to_micros(now)))) == DONE
    row = lane_row(store, "backend")
    assert (row.endpoint, row.endpoint_since) == ("backup", now)


def test_a_recipient_waits_since_it_was_made_unless_it_says_otherwise(store: Store, now: datetime) -> None:
    mail, unit = accepted(store.new_key, now)
    plain = outbound(store.new_key, mail.mail_id, LANE, now)
    earlier = outbound(store.new_key, mail.mail_id, LANE, now)
    since = to_micros(now - LIFE)
    earlier = replace(earlier, recipient=replace(earlier.recipient, waiting_since=since, request_id=mail.recipient_id))
    Committer(store).commit([unit, Unit(queued=(plain, earlier))])
    rows = [recipient(store, each.recipient.id) for each in (plain, earlier)]
    assert [row.waiting_since for row in rows] == [now, now - LIFE]
    assert [row.request_id for row in rows] == [None, mail.recipient_id]


def test_every_kind_of_change_has_its_turn_in_a_batch():
    kinds = {name for name, value in vars(effects).items() if isinstance(value, ChangeKind)}
    in_turn = {name for name in kinds if any(kind is getattr(effects, name) for kind in CHANGE_ORDER)}
    assert kinds - in_turn == set()
