"""Units merged into one transaction: what is stale, what is unique, what is ordered (semantics §2, §3, §7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import func, select

from handlers.terminals import change_map
from storage.columns import to_micros
from storage.committer import Committer
from storage.effects import (
    ATTEMPT,
    FINGERPRINT,
    RECIPIENT_OUTCOME,
    UNCLEAN_END,
    Applied,
    Change,
    Insert,
    Stale,
    Unit,
)
from storage.lane_leases import lease_lane
from storage.mail_queue import Arrival, Origin, arrival, is_repeat
from storage.models import Mail, Recipient
from storage.store import Store
from tests.storage.units import accepted, handled, outbound


def count(store: Store, model: type) -> int:
    return store.read(lambda s: s.scalar(select(func.count()).select_from(model)) or 0)


def test_units_of_one_batch_are_committed_together(store: Store, now: datetime) -> None:
    units = [accepted(store.new_key, now)[1] for _ in range(50)]
    assert Committer(store).commit(units) == [Applied()] * 50
    assert count(store, Mail) == 50


def test_a_change_that_finds_another_state_makes_its_unit_stale_and_no_other(store: Store, now: datetime) -> None:
    committer = Committer(store)
    first, unit = accepted(store.new_key, now)
    second, other = accepted(store.new_key, now)
    committer.commit([unit, other])
    change = Unit(changes=(handled(first, now),))
    assert committer.commit([change]) == [Applied((True,), ())]
    late = replace(change, inserts=(Insert(ATTEMPT, (store.new_key(), first.recipient_id, 0, "", "", "")),))
    good = Unit(changes=(handled(second, now),))
    assert committer.commit([late, good]) == [Stale("state"), Applied((True,), ())]
    states = store.read(lambda s: s.scalars(select(Recipient.state)).all())
    assert set(states) == {"handled"}


def test_a_stale_unit_leaves_nothing_behind_even_when_half_of_it_was_written(store: Store, now: datetime) -> None:
    committer = Committer(store)
    first, unit = accepted(store.new_key, now)
    second, other = accepted(store.new_key, now)
    committer.commit([unit, other])
    committer.commit([Unit(changes=(handled(first, now),))])
    torn = Unit(changes=(handled(second, now), handled(first, now)))
    mail, fresh = accepted(store.new_key, now)
    assert committer.commit([torn, fresh]) == [Stale("state"), Applied()]
    state = store.read(lambda s: s.get_one(Recipient, second.recipient_id).state)
    assert state == "received"
    assert store.read(lambda s: s.get(Mail, mail.mail_id)) is not None


def test_a_decision_made_on_an_older_map_is_stale(store: Store, now: datetime) -> None:
    committer = Committer(store)
    version = store.run(lambda s: change_map(s, now))
    _, unit = accepted(store.new_key, now)
    _, later = accepted(store.new_key, now)
    assert committer.commit([replace(unit, map_version=version), replace(later, map_version=version - 1)]) == [
        Applied(),
        Stale("map"),
    ]


def test_what_is_unique_is_decided_by_the_statement_the_first_wins(store: Store, now: datetime) -> None:
    committer = Committer(store)

    def fingerprint(name: bytes) -> Unit:
        mail, unit = accepted(store.new_key, now)
        row = Insert(FINGERPRINT, (name * 32, b"h" * 32, mail.mail_id, to_micros(now)))
        return replace(unit, inserts=(*unit.inserts, row))

    assert committer.commit([fingerprint(b"a"), fingerprint(b"a"), fingerprint(b"b")]) == [
        Applied(),
        Stale("unique"),
        Applied(),
    ]
    assert committer.commit([fingerprint(b"b")]) == [Stale("unique")]
    assert count(store, Mail) == 2


def test_lane_sequences_are_taken_in_the_commit_without_gaps(store: Store, now: datetime) -> None:
    committer = Committer(store)
    mail, unit = accepted(store.new_key, now)

    def to(*lanes: str) -> Unit:
        return Unit(queued=tuple(outbound(store.new_key, mail.mail_id, lane, now) for lane in lanes))

    assert committer.commit([unit, to("terminal:A", "terminal:B"), to("terminal:A")]) == [
        Applied(),
        Applied((), (1, 1)),
        Applied((), (2,)),
    ]
    assert committer.commit([to("terminal:A")]) == [Applied((), (3,))]


def test_an_outcome_is_written_only_under_the_lease_it_was_made_under(store: Store, now: datetime) -> None:
    committer = Committer(store)
    mail, unit = accepted(store.new_key, now)
    queued = outbound(store.new_key, mail.mail_id, "terminal:A", now)
    committer.commit([unit, Unit(queued=(queued,))])
    store.run(lambda s: lease_lane(s, "terminal:A", store.claim.node, store.lease_token, alone=True))

    def outcome(token: int) -> Unit:
        values = (queued.recipient.id, token, "delivered", to_micros(now), to_micros(now), 1, 0, "250 ok")
        return Unit(changes=(Change(RECIPIENT_OUTCOME, values),))

    assert committer.commit([outcome(store.lease_token + 1)]) == [Stale("state")]
    assert committer.commit([outcome(store.lease_token)]) == [Applied((True,), ())]
    assert committer.commit([outcome(store.lease_token)]) == [Stale("state")]


def test_a_repeat_is_told_only_after_an_unclean_end_within_the_window(store: Store, now: datetime) -> None:
    committer = Committer(store)
    first, unit = accepted(store.new_key, now, content=b"the same")
    second, again = accepted(store.new_key, now + timedelta(seconds=5), content=b"the same")
    third, other = accepted(store.new_key, now + timedelta(seconds=5), mail_from="B@X.EXAMPLE", content=b"the same")
    committer.commit([unit, again, other])
    window = to_micros(now - timedelta(seconds=25))
    clean_end = Unit(changes=(handled(first, now, repeat_after=window),))
    assert committer.commit([clean_end]) == [Applied((True,), ())]
    committer.commit([Unit(changes=(Change(UNCLEAN_END, (first.mail_id, to_micros(now))),))])
    assert committer.commit([Unit(changes=(handled(second, now, repeat_after=window),))]) == [Stale("state")]
    assert committer.commit([Unit(changes=(handled(third, now, repeat_after=window),))]) == [Applied((True,), ())]
    too_late = to_micros(now + timedelta(seconds=1))
    assert committer.commit([Unit(changes=(handled(second, now, repeat_after=too_late),))]) == [Applied((True,), ())]


def test_of_a_mail_that_comes_again_only_the_recipients_it_had_before_are_repeats(store: Store, now: datetime) -> None:
    committer = Committer(store)
    origin = Origin(listener="backend", mail_from="B@X.EXAMPLE")

    def taken(*rcpt_to: str, listener: str = "backend") -> list[Arrival]:
        of = replace(origin, listener=listener)
        _, unit = arrival(store.new_key, of, [(each, each.lower()) for each in rcpt_to], b"result", now)
        assert committer.commit([unit]) == [Applied()]
        return [note.payload for note in unit.notes]

    first = taken("A@X.EXAMPLE", "C@X.EXAMPLE")
    ended = Change(UNCLEAN_END, (first[0].mail_id, to_micros(now)))
    committer.commit([Unit(changes=(ended,))])
    window = to_micros(now - timedelta(seconds=30))
    again = [*taken("C@X.EXAMPLE", "D@X.EXAMPLE"), *taken("A@X.EXAMPLE", listener="naccs")]
    units = [Unit(changes=(handled(each, now, repeat_after=window),)) for each in (*first, *again)]
    done, stale = Applied((True,), ()), Stale("state")
    assert committer.commit(units) == [done, done, stale, done, done]
    since = now - timedelta(seconds=30)
    assert [store.read(partial(is_repeat, arrival=each, since=since)) for each in again] == [True, False, False]
