"""An application brought to any state of the workflow by its events, and every event made to happen there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.orm import Session

from gateway.password_keys import PasswordKeys
from handlers import reviews
from handlers.amendments import Amendment, FieldChange
from handlers.applications.contents import ApplicationContents, ItemChange, Person
from handlers.calendar import start_of_day
from handlers.desk import DeskSettings
from handlers.reviews import Decided, Details
from handlers.workflow import Event, State
from handlers.works import WorkMode, WorkOrder
from storage.models import Application, Office
from storage.store import Store
from tests.handlers.review_cases import CALENDAR, DESK, OFFICES, START, contents, line_change, receive, take_contracts

NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
RECEIPT = "260001A"
LATER_START = date(2026, 12, 21)
_STEP = timedelta(hours=1)


# The seed's application, with an item that asks for system settings.
SAID = contents(
    line_change(),
    items=("naccs_terminals", "identification_numbers"),
    item_changes=(ItemChange(code="identification_numbers", before="001、002", after="001、002、003"),),
    work_contact=Person(
        family_name="船舶", given_name="二郎", family_kana="センパク", given_kana="ジロウ", phone="06456789123"
    ),
)
_AMENDED: ApplicationContents = SAID.model_copy(
    update={"applicant": SAID.applicant.model_copy(update={"phone": "0312345678"})}
)
_WORK = WorkOrder(
    mode=WorkMode.REMOTE,
    begins_at=datetime(2026, 12, 11, 1, 0, tzinfo=UTC),
    ends_at=datetime(2026, 12, 11, 3, 0, tzinfo=UTC),
    contact="NACCSセンター 回線工事窓口",
    phone="0440000000",
    note="工事の前に、端末の電源をお切りください。",
)

# What comes with each event.
DETAILS: Mapping[Event, Details] = {
    Event.INQUIRE: Details(
        words="システム構成図の「ルータのLAN側IPアドレス」が空欄です。\n予定している接続先をお知らせください。"
    ),
    Event.ANSWER: Details(words="接続先は、既設のスイッチの3番ポートです。", author=SAID.applicant.email),
    Event.AMEND: Details(
        words="【申込担当者】\n電話番号: 0312345678",
        author=SAID.applicant.email,
        amendment=Amendment(
            contents=_AMENDED,
            changes=(
                FieldChange(section="申込担当者", label="電話番号", before="0120794550", after="0312345678"),
                FieldChange(section="回線工事", label="備考", before="", after="当日は９時以降に来訪してください"),
            ),
            attachments=(),
        ),
    ),
    Event.COMPLETE: Details(start_date=START),
    Event.PROPOSE: Details(start_date=START),
    Event.RESCHEDULE: Details(start_date=LATER_START),
    Event.SCHEDULE_WORK: Details(work=_WORK),
    Event.WITHDRAW: Details(words="計画を見直すため、取り下げます。", author=SAID.applicant.email),
    Event.REJECT: Details(words="申込の回線は、貴事業所の契約にある回線と異なります。"),
    Event.VOID: Details(
        words="システム設定申込締切日（2026年12月8日）までに、システム設定のお申し込みがありませんでした。"
    ),
}
# The events that bring a received application to a state.
PATHS: Mapping[State, tuple[Event, ...]] = {
    State.RECEIVED: (),
    State.UNDER_REVIEW: (Event.TAKE,),
    State.INQUIRY: (Event.INQUIRE,),
    State.IDS_ISSUED: (Event.COMPLETE,),
    State.IN_USE: (Event.COMPLETE, Event.BEGIN_USE),
    State.CHECKED: (Event.COMPLETE, Event.BEGIN_USE, Event.CONFIRM),
    State.WITHDRAWN: (Event.WITHDRAW,),
    State.REJECTED: (Event.REJECT,),
    State.VOID: (Event.COMPLETE, Event.VOID),
}
# What has to have happened before an event, beside the state.
_BEFORE: Mapping[Event, tuple[Event, ...]] = {Event.FINISH_WORK: (Event.SCHEDULE_WORK,)}
_AFTER_START = frozenset({State.IN_USE, State.CHECKED})


def desk_in(directory: Path) -> DeskSettings:
    """The desk of the tests, with a file for the keys of passwords."""
    return replace(DESK, data_keys=PasswordKeys(directory / "keys" / "passwords.key"))


_BILINGUAL: ContextVar[bool] = ContextVar("_BILINGUAL", default=False)


@contextmanager
def bilingual_offices() -> Iterator[None]:
    """Offices that begin a story here want their mails in English too."""
    before = _BILINGUAL.set(True)
    try:
        yield
    finally:
        _BILINGUAL.reset(before)


def begin(store: Store, text: str = OFFICES) -> None:
    """The offices of a file are registered."""
    take_contracts(store, NOW, text, password_hashes=dict.fromkeys(("CT0001", "CT0002"), "not-hashed-here"))
    store.run(lambda session: session.execute(update(Office).values(bilingual=_BILINGUAL.get())))


def bring(store: Store, desk: DeskSettings, state: State) -> None:
    """An application of the office of the sample file, in that state."""
    begin(store)
    receive(store, NOW, receipt=RECEIPT, said=SAID, last_message_id="<1@applicant.example>")
    for place, event in enumerate(PATHS[state], start=1):
        happen(store, desk, event, NOW + place * _STEP)


def happen(store: Store, desk: DeskSettings, event: Event, now: datetime) -> Decided:
    """Let an event happen to the application; one that the start day brings happens at its 00:00."""
    at = max(now, start_of_day(START)) if event in (Event.BEGIN_USE, Event.CONFIRM) else now
    details = DETAILS.get(event, Details())

    def work(session: Session) -> Decided:
        decided = reviews.decide(session, desk, RECEIPT, event, "os:reviewer", at, CALENDAR, details)
        assert isinstance(decided, Decided), decided
        return decided

    return store.run(work)


def happen_from(store: Store, desk: DeskSettings, state: State, event: Event) -> None:
    """An event in the state the application was brought to, with whatever it needs before."""
    at = start_of_day(START) + timedelta(days=1) if state in _AFTER_START else NOW + timedelta(days=1)
    for prior in _BEFORE.get(event, ()):
        happen(store, desk, prior, at)
    happen(store, desk, event, at)


def application(session: Session) -> Application:
    """The application of the story."""
    found = reviews.find(session, RECEIPT)
    assert found is not None
    return found
