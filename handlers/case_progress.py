"""進行状況 of an application and 新着情報 of an office, from the history of its cases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import case_history
from handlers.calendar import jst_date
from handlers.case_history import EntryKind
from handlers.workflow import State
from storage.models import Application, CaseEntry, Office

_NEWEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A row of 進行状況: 作業項目, 作業日 (JST) and 通知内容."""

    item: str
    date: date
    notice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """A row of 新着情報: the day (JST), its category, the receipt number in brackets, and what happened."""

    date: date
    category: str
    receipt_number: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What an applicant sees of an entry: rows of 進行状況 (作業項目, 通知内容), and a line of 新着情報."""

    rows: tuple[tuple[str, str], ...]
    category: str = "利用申込"
    text: str = ""


_RECEIVED = ("利用申込", "利用申込受付完了のお知らせ")
_COMPLETED = (("利用申込回答(審査終了)", "利用申込確認完了のお知らせ"), ("ID通知", "ID通知のお知らせ"))
_IN_USE = ("利用開始", "利用開始のお知らせ")

# What is not here is the center's own: who took a case, who proposed, what did not reach its addressee.
_TOLD: Mapping[EntryKind, _Told] = {
    EntryKind.RECEIVED: _Told(rows=(), text="利用申込を受け付けました。"),
    EntryKind.INQUIRY: _Told(
        rows=(("確認事項", "利用申込の確認事項のお知らせ"),),
        text="利用申込に確認事項があります。お知らせの内容を確認し、回答、修正または取下げを行ってください。",
    ),
    EntryKind.ANSWER: _Told(rows=(("確認事項への回答", ""),)),
    EntryKind.AMENDMENT: _Told(
        rows=(("申込内容の修正", "利用申込修正受付のお知らせ"),), text="利用申込の修正を受け付けました。"
    ),
    EntryKind.SETTINGS: _Told(
        rows=(("システム設定申込", "システム設定申込受付のお知らせ"),),
        category="システム設定",
        text="システム設定申込を受け付けました。",
    ),
    EntryKind.WORK: _Told(rows=(("回線工事", "回線工事日程のお知らせ"),), category="回線工事"),
    EntryKind.RESCHEDULED: _Told(
        rows=(("日程の変更", "利用開始日変更のお知らせ"),),
        text="利用開始の日程が変わりました。お知らせの内容を確認してください。",
    ),
    EntryKind.COMPLETED: _Told(
        rows=_COMPLETED, text="利用申込の審査を終了しました。お知らせの内容とID通知内容を確認してください。"
    ),
    EntryKind.IN_USE: _Told(
        rows=(_IN_USE,), category="利用開始", text="利用を開始しました。TCC業務で通信を確認してください。"
    ),
    EntryKind.CHECKED: _Told(
        rows=(("通信確認", "通信確認完了のお知らせ"),), category="利用開始", text="新しい論理端末の通信を確認しました。"
    ),
    EntryKind.SECRETS_REISSUED: _Told(
        rows=(("パスワードの再発行", "パスワード再発行のお知らせ"),),
        category="パスワード",
        text="パスワードを再発行しました。参照期間のうちに確認してください。",
    ),
    EntryKind.WITHDRAWAL: _Told(
        rows=(("取下げ", "利用申込取下げ受付のお知らせ"),),
        text="利用申込の取下げを受け付けました。",
    ),
    EntryKind.REJECTED: _Told(
        rows=(("利用申込回答(不承認)", "利用申込不承認のお知らせ"),),
        text="利用申込は承認されませんでした。お知らせの内容を確認してください。",
    ),
    EntryKind.VOID: _Told(
        rows=(("無効", "利用申込無効のお知らせ"),),
        text="利用申込は無効になりました。お知らせの内容を確認してください。",
    ),
}
_WORK_CHANGED = "回線工事の内容が変わりました。お知らせの内容を確認してください。"
_WORK_MOVED = "回線工事の日程が変わりました。お知らせの内容を確認してください。"
_WORK_ARRANGED = "回線工事の日程が決まりました。お知らせの内容を確認してください。"
_WORK_DONE = "回線工事が終わりました。"


def progress(session: Session, application: Application) -> tuple[Progress, ...]:
    """進行状況, oldest first: the steps of the procedure, each on its JST day."""
    entries = case_history.history(session, application)
    rows = [Progress(item=_RECEIVED[0], date=application.received_on, notice=_RECEIVED[1])]
    rows += (row for entry in entries for row in _rows_of(application, entry))
    kinds = {entry.kind for entry in entries}
    if application.completed_at is not None and EntryKind.COMPLETED not in kinds:
        rows += _on(jst_date(application.completed_at), _COMPLETED)
    in_use = application.state in (State.IN_USE, State.CHECKED)
    if in_use and application.start_date is not None and EntryKind.IN_USE not in kinds:
        rows += _on(application.start_date, (_IN_USE,))
    return tuple(sorted(rows, key=lambda row: row.date))


def news(session: Session, office: Office, at_most: int = _NEWEST) -> list[News]:
    """新着情報 of an office, newest first."""
    told = [kind for kind, said in _TOLD.items() if said.text or kind is EntryKind.WORK]
    query = (
        select(CaseEntry, Application.receipt_number)
        .join(Application, Application.id == CaseEntry.application_id)
        .where(Application.office_id == office.id, CaseEntry.kind.in_(told))
        .order_by(CaseEntry.occurred_at.desc(), CaseEntry.id.desc())
        .limit(at_most)
    )
    return [_news_of(entry, receipt_number) for entry, receipt_number in session.execute(query)]


def _rows_of(application: Application, entry: CaseEntry) -> Iterator[Progress]:
    told = _TOLD.get(EntryKind(entry.kind))
    if told is None:
        return
    day = jst_date(entry.occurred_at)
    if entry.kind == EntryKind.IN_USE and application.start_date is not None:
        day = application.start_date
    rows: Sequence[tuple[str, str]] = told.rows
    if is_work_done(entry):
        rows = (("回線工事終了", ""),)
    elif _replaces_work(entry):
        what = "日程" if _moves_work(entry) else "内容"
        rows = ((f"回線工事の{what}の変更", "回線工事日程のお知らせ"),)
    yield from _on(day, rows)


def _on(day: date, rows: Iterable[tuple[str, str]]) -> Iterator[Progress]:
    return (Progress(item=item, date=day, notice=notice) for item, notice in rows)


def _news_of(entry: CaseEntry, receipt_number: str) -> News:
    told = _TOLD[EntryKind(entry.kind)]
    work = _WORK_ARRANGED
    if _replaces_work(entry):
        work = _WORK_MOVED if _moves_work(entry) else _WORK_CHANGED
    if is_work_done(entry):
        work = _WORK_DONE
    return News(
        date=jst_date(entry.occurred_at),
        category=told.category,
        receipt_number=receipt_number,
        text=work if entry.kind == EntryKind.WORK else told.text,
    )


def is_work_done(entry: CaseEntry) -> bool:
    """Whether an entry about work says that it is done."""
    return entry.kind == EntryKind.WORK and bool(case_history.parts(entry).get("done"))


def _replaces_work(entry: CaseEntry) -> bool:
    """Whether an entry about work says that it came in the place of other work."""
    return entry.kind == EntryKind.WORK and bool(case_history.parts(entry).get("replaces"))


def _moves_work(entry: CaseEntry) -> bool:
    """Whether the window of the work that was replaced was another one."""
    parts = case_history.parts(entry)
    return (parts["replaced_begins_at"], parts["replaced_ends_at"]) != (parts["begins_at"], parts["ends_at"])
