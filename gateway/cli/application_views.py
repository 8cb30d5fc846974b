"""An application on the terminal: its case view, and what a reviewer has to see before deciding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from gateway.cli import Invocation
from gateway.cli.showing import printable

if TYPE_CHECKING:
    from handlers.case_view import CaseView
    from handlers.case_works import WorkView
    from handlers.review_queue import ReviewSheet

_COUNTED = {
    "user_codes": ("利用者コード", "user codes"),
    "identification_numbers": ("識別番号", "identification numbers"),
    "lines": ("回線", "lines"),
    "terminals": ("論理端末", "terminals"),
    "mailboxes": ("メールボックス", "mailboxes"),
}
_WORK_STATES = {
    "planned": ("予定", "planned"),
    "open": ("工事中（配信停止）", "window open, delivery paused"),
    "closed": ("時間帯終了・終了未記録", "window over, not recorded done"),
    "done": ("終了", "done"),
    "called_off": ("取消し", "called off"),
}
_WORK_WORDS = (("連絡先", "contact"), ("費用", "fee"), ("備考", "note"))
_MOST_NAMED = 3


def show_view(running: Invocation, view: CaseView) -> None:
    """The case view (申込内容参照), a line a field."""

    def line(ja: str, en: str, value: object) -> None:
        typer.echo(f"{running.text(ja=ja, en=en)}: {'' if value is None else printable(str(value))}")

    line("受付番号", "receipt number", view.receipt_number)
    line("ステータス", "state", running.text(ja=view.status_ja, en=view.state))
    line("事業所コード", "office code", view.office_code)
    line("申込分類", "class", "、".join((view.application_class, *view.special_classes)))
    line("契約変更内容", "items", "、".join(view.items))
    line("申込理由", "reason", " ".join(view.reason.split("\n")))
    line("備考", "remarks", " ".join(view.remarks.split("\n")))
    line("申込日", "received on", view.received_on)
    line("審査終了日", "review completed on", view.review_completed_on)
    line("利用開始希望日", "desired start date", view.desired_start_date)
    line("利用開始日", "start date", view.start_date)
    line("契約解除(満了)希望日", "desired end of the contract", view.desired_end_date)
    line("契約満了日", "end of the contract", view.end_date)
    line("システム設定申込締切日", "deadline for system settings", view.settings_deadline)
    line("システム設定申込日", "system settings applied for on", view.settings_received_on)
    line("パスワード参照期限", "passwords can be seen until", view.passwords_until)
    line("申込担当者", "applicant", f"{view.applicant_name} <{view.applicant_email}>")
    line("電話番号", "phone", view.applicant.phone)
    line("システム管理責任者", "administrator", f"<{view.administrator_email}>")
    for key, count in view.counts.items():
        if count.added or count.changed or count.deleted:
            ja, en = _COUNTED[key]
            numbers = "/".join("-" if number is None else str(number) for number in (count.added, count.changed))
            line(f"{ja} 追加/変更/削除", f"{en} added/changed/deleted", f"{numbers}/{count.deleted}")
    for terminal in view.terminals:
        addresses = " ".join(terminal.mail_addresses)
        line("論理端末", "terminal", f"{terminal.name} {terminal.ip_address or '-'} {addresses}")
    for work in view.works:
        line("回線工事", "work", running.text(**dict(zip(("ja", "en"), work_texts(work), strict=True))))
    for file in view.attachments:
        line("添付ファイル", "attachment", f"{file.name} ({file.size} bytes)")
    for row in view.progress:
        line("進行状況", "progress", f"{row.date} {row.item} {row.notice}".rstrip())


def work_texts(work: WorkView) -> tuple[str, str]:
    """A work in Japanese and English: its line, how, when (JST) and how far it is, who is asked for, its id."""
    from handlers.work_warnings import window_text

    window, state = window_text(work.begins_at, work.ends_at), _WORK_STATES[work.state]
    on_site = work.mode == "on_site"
    ja = [work.router_number or "（新しい回線）", "現地" if on_site else "リモート", window, state[0]]
    en = [work.router_number or "(new line)", "on site" if on_site else "remote", window, state[1]]
    if work.router_installed_on is not None:
        ja.append(f"ルータ設置日 {work.router_installed_on}")
        en.append(f"router installed on {work.router_installed_on}")
    contact, note = " ".join(filter(None, (work.contact, work.phone))), " ".join(work.note.split("\n"))
    for (label_ja, label_en), value in zip(_WORK_WORDS, (contact, work.fee, note), strict=True):
        if value:
            ja.append(f"{label_ja} {value}")
            en.append(f"{label_en} {value}")
    if work.replaces is not None:
        former = window_text(work.replaces.begins_at, work.replaces.ends_at)
        ja.append(f"{former} の工事に替わるもの")
        en.append(f"replaces {former}")
    return f"{'  '.join(ja)}  (--work {work.id})", f"{'  '.join(en)}  (--work {work.id})"


def show_sheet(running: Invocation, sheet: ReviewSheet, indent: str = "") -> None:
    """What bears on the decision, a line a fact; what needs no look is left out."""
    for change in sheet.changes:
        typer.echo(f"{indent}{printable(change.item)}: {printable(change.before or '-')} → {printable(change.after)}")
    for ja, en in _hints(sheet):
        typer.echo(indent + printable(running.text(ja=ja, en=en)))
    for warning in sheet.warnings:
        typer.echo(indent + printable(running.text(ja=warning.text_ja, en=warning.text_en)))


def _hints(sheet: ReviewSheet) -> Iterator[tuple[str, str]]:
    """Each hint in Japanese and English."""
    schedule = {
        True: ("（スケジュール表の登録日）", " (a registration day)"),
        False: ("（スケジュール表の登録日ではない）", " (no registration day of the schedule)"),
        None: ("", ""),
    }[sheet.on_schedule]
    wish = sheet.desired_start_date
    yield f"利用開始希望日: {wish}{schedule[0]}", f"desired start date: {wish}{schedule[1]}"
    if sheet.settings_deadline is not None:
        day = sheet.settings_deadline
        yield f"システム設定申込締切日: {day}", f"deadline for system settings: {day}"
    if sheet.first_start is not None:
        first = sheet.first_start
        yield f"締切日を過ぎています。早くても利用開始日 {first}", f"that has passed; the first start date is {first}"
    yield f"差出人の確認: {sheet.sender_verdict or '-'}", f"sender: {sheet.sender_verdict or '-'}"
    yield from _address_hints(sheet)
    yield from _line_hints(sheet)
    if sheet.open_cases:
        ja, en = _named(sheet.open_cases)
        yield f"この事業所のほかの申込: {ja}", f"other open applications of the office: {en}"
    yield from _decision_hints(sheet)


def _named(cases: Sequence[str]) -> tuple[str, str]:
    """Some receipt numbers and how many there are, in Japanese and English; all of them are in the JSON."""
    first, more = " ".join(cases[:_MOST_NAMED]), len(cases) - _MOST_NAMED
    if more > 0:
        return f"{first} ほか {more} 件（全 {len(cases)} 件）", f"{first} and {more} more ({len(cases)} in all)"
    if len(cases) == 1:
        return first, first
    return f"{first}（全 {len(cases)} 件）", f"{first} ({len(cases)} in all)"


def _address_hints(sheet: ReviewSheet) -> Iterator[tuple[str, str]]:
    if not sheet.address_registered:
        address = sheet.notice_address
        accepted = sheet.address_accepted
        yield (
            f"通知先 {address} は登録されていません（{'承認済み' if accepted else '返信は未承認'}）",
            f"the notice address {address} is not registered; replies from it {'act' if accepted else 'do not act'}",
        )
    for notice in sheet.undelivered:
        yield (
            f"不達: {notice.rcpt_to} {notice.template} {notice.reason}",
            f"not delivered: {notice.rcpt_to} {notice.template} {notice.reason}",
        )


def _line_hints(sheet: ReviewSheet) -> Iterator[tuple[str, str]]:
    for line in sheet.lines:
        if not line.router_number:
            continue
        spare = (
            ("、予備ルータあり（現地工事、有料）", ", spare router: work on site, charged")
            if line.spare_router
            else ("", "")
        )
        free = line.free_ip_addresses
        yield (
            f"回線 {line.router_number}（{line.action}）: 空きIPアドレス {free}{spare[0]}",
            f"line {line.router_number} ({line.action}): {free} free IP addresses{spare[1]}",
        )
        if line.open_cases:
            ja, en = _named(line.open_cases)
            yield f"  同じ回線のほかの申込: {ja}", f"  other open applications on this line: {en}"
    if sheet.new_lines_needed:
        count = sheet.new_lines_needed
        yield f"追加する回線: {count}（--new-line が必要）", f"lines to be added: {count} (--new-line needed)"


def _decision_hints(sheet: ReviewSheet) -> Iterator[tuple[str, str]]:
    if sheet.inquiry_needed:
        items = "、".join(sheet.inquiry_needed)
        made = sheet.inquiry_made
        yield (
            f"事前の問い合わせが必要: {items}（{'確認済み' if made else '未確認、--inquiry-made'}）",
            f"asks for a prior inquiry: {items} ({'made' if made else 'not ticked: --inquiry-made'})",
        )
    if sheet.proposal is not None:
        proposal = sheet.proposal
        yield (
            f"審査終了の提案: {proposal.proposed_by} 利用開始日 {proposal.start_date}",
            f"completion proposed by {proposal.proposed_by}, start date {proposal.start_date}",
        )
