from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import update

from handlers.desk import DeskSettings
from handlers.reviews import Decided, Details, Reason, Refusal
from handlers.workflow import TRANSITIONS, Event, State
from handlers.works import WorkOrder
from storage.models import Application
from storage.store import Store
from tests.handlers.deciding import amended, decide, desk_with_keys, fingerprint, tried
from tests.handlers.review_cases import START, contents, receive, state_of, take_contracts

TODAY = date(2026, 11, 24)
SAID = contents(items=("naccs_terminals", "user_codes"))
WORK = WorkOrder(
    begins_at=datetime(2026, 12, 10, 0, 0, tzinfo=UTC),
    ends_at=datetime(2026, 12, 10, 3, 0, tzinfo=UTC),
    contact="工事窓口",
    phone="0312345678",
)

# What is given with each event, so that nothing but the state could forbid it.
DETAILS: dict[Event, Details] = {
    Event.INQUIRE: Details(words="台数は１台でよろしいですか。"),
    Event.ANSWER: Details(words="はい。", mail_id=5, author="tsukan-hanako@applicant.example"),
    Event.AMEND: Details(amendment=amended(SAID, reason="別の理由"), words="理由を直します", mail_id=7),
    Event.REJECT: Details(words="契約内容と合いません。"),
    Event.VOID: Details(words="お申し出により無効とします。"),
    Event.RESCHEDULE: Details(start_date=date(2026, 12, 21)),
    Event.SCHEDULE_WORK: Details(work=WORK),
}

BOTH = 2  # 申込担当者 and システム管理責任者


def mails(**numbers: int) -> tuple[str, ...]:
    names = {name.replace("_", "-"): number for name, number in numbers.items()}
    reviewers = {"case-news": "reviewer"}
    return tuple(f"{reviewers.get(name, 'applicant')}/{name}" for name, number in names.items() for _ in range(number))


IN_PLACE = ("received", "under_review", "inquiry")
ISSUED = ("ids_issued", "in_use", "checked")
TAKEN = (("take",), ("taken",), ())
COMPLETED = (
    ("complete", "issue"),
    ("completed",),
    mails(review_complete=BOTH, id_notice=BOTH),
)
# (state, event): next state, audit events, history, mails. A pair that is not here is refused.
EXPECTED: dict[tuple[str, str], tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    ("received", "take"): ("under_review", *TAKEN),
    ("under_review", "take"): ("under_review", *TAKEN),
    **{
        (state, "accept_address"): (state, ("accept_address",), ("address_accepted",), ())
        for state in IN_PLACE + ISSUED
    },
    ("received", "inquire"): ("inquiry", ("take", "inquire"), ("taken", "inquiry"), mails(inquiry=BOTH)),
    ("under_review", "inquire"): ("inquiry", ("inquire",), ("inquiry",), mails(inquiry=BOTH)),
    ("inquiry", "inquire"): ("inquiry", ("inquire",), ("inquiry",), mails(inquiry=BOTH)),
    ("inquiry", "answer"): ("under_review", ("answer",), ("answer",), mails(case_news=1)),
    **{
        (state, "amend"): (following, ("amend",), ("amendment",), mails(amendment_received=BOTH, case_news=1))
        for state, following in (
            ("received", "received"),
            ("under_review", "under_review"),
            ("inquiry", "under_review"),
        )
    },
    ("received", "propose"): ("under_review", ("take", "propose"), ("taken", "proposed"), mails(case_news=1)),
    ("under_review", "propose"): ("under_review", ("propose",), ("proposed",), mails(case_news=1)),
    ("received", "complete"): (
        "ids_issued",
        ("take", *COMPLETED[0]),
        ("taken", *COMPLETED[1]),
        COMPLETED[2],
    ),
    ("under_review", "complete"): ("ids_issued", *COMPLETED),
    ("completed", "issue"): ("ids_issued", ("issue",), (), mails(id_notice=BOTH)),
    **{
        (state, "receive_settings"): (state, ("receive_settings",), ("settings",), mails(settings_received=BOTH))
        for state in (*IN_PLACE, "ids_issued")
    },
    **{
        (state, "reschedule"): (state, ("reschedule",), ("rescheduled",), mails(rescheduled=BOTH))
        for state in (*IN_PLACE, "ids_issued")
    },
    **{
        (state, "schedule_work"): (
            state,
            ("work-cancelled", "schedule_work"),
            ("work",),
            mails(work_schedule=BOTH),
        )
        for state in (*IN_PLACE, "ids_issued")
    },
    **{(state, "finish_work"): (state, ("finish_work",), ("work",), ()) for state in IN_PLACE + ISSUED},
    **{
        (state, "reissue_secrets"): (
            state,
            ("reissue_secrets",),
            ("secrets_reissued",),
            mails(passwords_reissued=BOTH),
        )
        for state in ISSUED
    },
    ("in_use", "confirm"): ("checked", ("confirm",), ("checked",), mails(communication_checked=BOTH)),
    **{
        (state, "withdraw"): (
            "withdrawn",
            ("work-cancelled", "withdraw"),
            ("withdrawal",),
            mails(withdrawal_received=BOTH, case_news=1),
        )
        for state in IN_PLACE
    },
    ("received", "reject"): (
        "rejected",
        ("take", "work-cancelled", "reject"),
        ("taken", "rejected"),
        mails(application_rejected=BOTH),
    ),
    **{
        (state, "reject"): (
            "rejected",
            ("work-cancelled", "reject"),
            ("rejected",),
            mails(application_rejected=BOTH),
        )
        for state in ("under_review", "inquiry")
    },
    ("ids_issued", "void"): (
        "void",
        ("work-cancelled", "void"),
        ("void",),
        mails(application_void=BOTH, case_news=1),
    ),
}
# Allowed by the state, refused by the date: the start has not come.
NOT_YET = {("ids_issued", "begin_use")}


def bring_to(store: Store, now: datetime, state: str, desk: DeskSettings) -> None:
    """An application in that state, with work arranged where it can have some."""
    take_contracts(store, now)
    receive(store, now, said=SAID)
    decide(store, now, Event.SCHEDULE_WORK, work=replace(WORK, contact="別の窓口"), desk=desk)
    path: dict[str, list[tuple[Event, Details]]] = {
        "under_review": [(Event.TAKE, Details())],
        "inquiry": [(Event.INQUIRE, Details(words="？"))],
        "ids_issued": [(Event.COMPLETE, Details())],
        "withdrawn": [(Event.WITHDRAW, Details())],
        "rejected": [(Event.REJECT, Details(words="不承認"))],
        "void": [(Event.COMPLETE, Details()), (Event.VOID, Details(words="無効"))],
    }
    for event, given in path.get(state, []):
        done = decide(store, now, event, desk=desk, words=given.words)
        assert isinstance(done, Decided), done
    if state in ("completed", "in_use", "checked"):
        _set_down(store, now, state, desk)
    assert state_of(store) == state


def _set_down(store: Store, now: datetime, state: str, desk: DeskSettings) -> None:
    if state == "completed":  # a state that is passed within a commit
        changes = {"state": state, "start_date": START, "completed_at": now, "passwords_until": date(2026, 12, 16)}
        store.run(lambda session: session.execute(update(Application).values(**changes)))
        return
    decide(store, now, Event.RECEIVE_SETTINGS, desk=desk)
    decide(store, now, Event.COMPLETE, desk=desk, start_date=TODAY)
    if state == "checked":
        decide(store, now, Event.CONFIRM, desk=desk)


@pytest.mark.parametrize("state", State)
def test_each_event_does_in_each_state_what_the_table_says_or_is_refused_and_does_nothing(store, now, state):
    desk = desk_with_keys()
    bring_to(store, now, state, desk)
    before = fingerprint(store)
    wrong = {}
    for event in Event:
        seen = tried(store, now, event, desk, DETAILS.get(event, Details()))
        expected = EXPECTED.get((state, event))
        found: tuple[object, ...]
        wanted: tuple[object, ...]
        if expected is not None:
            found = (seen.state, tuple(sorted(seen.audited)), seen.entries, tuple(sorted(seen.mails)))
            wanted = (expected[0], tuple(sorted(expected[1])), expected[2], tuple(sorted(expected[3])))
        else:
            reason = Reason.START_NOT_REACHED if (state, event) in NOT_YET else Reason.WRONG_STATE
            detail = START.isoformat() if (state, event) in NOT_YET else str(state)
            found = (seen.result, seen.state, seen.audited, seen.entries, seen.mails)
            wanted = (Refusal(reason, detail), str(state), (), (), ())
        if found != wanted:
            wrong[event] = (found, wanted)
    assert wrong == {}
    assert fingerprint(store) == before


def test_the_expectations_cover_the_table():
    assert {(str(state), str(event)) for state, event in TRANSITIONS} == set(EXPECTED) | NOT_YET


def test_use_begins_on_the_start_date_with_a_mail(store, now):
    desk = desk_with_keys()
    bring_to(store, now, "ids_issued", desk)
    start = datetime(2026, 12, 13, 15, 0, tzinfo=UTC)
    assert tried(store, start - timedelta(seconds=1), Event.BEGIN_USE, desk, Details()).result == Refusal(
        Reason.START_NOT_REACHED, START.isoformat()
    )
    seen = tried(store, start, Event.BEGIN_USE, desk, Details())
    assert (seen.state, seen.audited, seen.entries) == ("in_use", ("begin_use",), ("in_use",))
    assert seen.mails == mails(start_of_use=BOTH)


@pytest.mark.parametrize("event", [Event.INQUIRE, Event.REJECT, Event.VOID])
def test_what_is_told_to_the_applicant_needs_words(store, now, event):
    desk = desk_with_keys()
    bring_to(store, now, "ids_issued" if event is Event.VOID else "under_review", desk)
    assert decide(store, now, event, words=" \n") == Refusal(Reason.WORDS_NEEDED)
