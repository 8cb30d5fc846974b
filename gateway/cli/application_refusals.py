"""Why a decision on an application was refused, and what to do about it, in Japanese and English."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli import Invocation

if TYPE_CHECKING:
    from handlers.review_case import Refusal

REFUSALS: dict[str, tuple[str, str]] = {
    "not_found": ("申込受付番号 {detail} はありません。", "there is no application {detail}"),
    "wrong_state": (
        "この申込は {detail} のため、この操作はできません。できる操作: {possible}",
        "the application is {detail}, so this cannot be done; what can be done: {possible}",
    ),
    "start_in_the_past": (
        "利用開始日 {detail} は過ぎています。--start-date で今日以降の日を指定してください。",
        "the start date {detail} has passed; give one from today on with --start-date",
    ),
    "start_not_reached": ("利用開始日 {detail} になっていません。", "the start date {detail} has not come yet"),
    "start_unchanged": (
        "利用開始日はすでに {detail} です。別の日を指定してください。",
        "the start date is {detail} already; give another one",
    ),
    "deadline_passed": (
        "システム設定申込締切日 {detail} が過ぎています。--start-date で {first_start} 以降を指定してください。",
        "the deadline for the system settings, {detail}, has passed; give a --start-date from {first_start} on",
    ),
    "exhausted": (
        "{detail} に空きがありません。回線のLANか端末名の範囲を広げるか、不要な端末の削除を待ってください。",
        "nothing is free any more in {detail}; enlarge the LAN or the pool, or wait for terminals that end",
    ),
    "impossible": (
        "{detail} は利用開始日に使われるこの事業所の回線・端末ではありません。inquire で修正を依頼してください。",
        "{detail} is no line or terminal of this office in use on the start date; ask for an amendment (inquire)",
    ),
    "words_needed": (
        "申込者に伝える文が必要です。引数か --file で指定してください。",
        "the applicant has to be told something: give the words as an argument or with --file",
    ),
    "same_person": (
        "{detail} が提案した審査終了は、別の審査担当者が application complete で決定します。",
        "{detail} proposed it: another reviewer has to decide with application complete",
    ),
    "inquiry_needed": (
        "{detail} には事前の問い合わせが必要です。済んでいれば --inquiry-made を付けてください。",
        "{detail} asks for a prior inquiry; where it was made, say --inquiry-made",
    ),
    "new_line_needed": (
        "追加する回線は {detail} 本です。本数と同じだけ --new-line ルータ番号=LAN を、申込の順に指定してください。",
        "lines to be added: {detail}; give as many --new-line ROUTER=SUBNET, in the order of the application",
    ),
    "new_line_taken": (
        "{detail} は別の回線で使われています。--new-line に別のルータ番号かLANを指定してください。",
        "{detail} is in use by another line; give --new-line another router number or LAN",
    ),
    "settings_not_needed": (
        "この申込にシステム設定申込は要りません。",
        "no chosen item of this application asks for system settings",
    ),
    "settings_late": (
        "システム設定申込締切日 {detail} を過ぎています。application reschedule か application void で進めてください。",
        "the deadline for the system settings was {detail}; go on with application reschedule or application void",
    ),
    "no_work": (
        "終わらせる工事がないか、いくつもあります。application show で確かめ、--work で指定してください。",
        "no work is arranged that could be done, or more than one is: see application show and name it with --work",
    ),
    "work_not_found": (
        "--work で指定された番号の、終わっていない工事はありません。終わっていない工事の番号: {detail}",
        "--work names no work of this application that is not done; such work: {detail}",
    ),
    "work_unchanged": (
        "何も変わりません。同じ工事（{detail}）をすでに決めています。メールは送りません。",
        "nothing changes: the same work ({detail}) is arranged already; no mail is sent",
    ),
    "line_not_named": (
        "この事業所の回線を --router で指定してください。この申込のルータ番号: {detail}",
        "name a line of the office with --router; the router numbers of this application: {detail}",
    ),
    "window_ended": (
        "工事の時間帯 {detail} は終わっています。今より後に終わる --begins と --ends を指定してください（日本時間）。",
        "the window {detail} is over already; give --begins and --ends that end after now (time of Japan)",
    ),
    "secrets_gone": (
        "再発行するパスワードがありません。この申込では発行していないか、鍵ファイルがありません。",
        "there is no password to issue again: the application has none, or the key file is not set up",
    ),
}


def refusal_text(running: Invocation, refusal: Refusal) -> str:
    """The sentence for a refusal in the language of the invocation."""
    ja, en = REFUSALS[refusal.reason]
    detail, possible = refusal.detail, ""
    if refusal.reason == "wrong_state":
        detail, possible = _state(running, refusal.detail), _possible(running, refusal.detail)
    return running.text(ja=ja, en=en).format(detail=detail, possible=possible, first_start=refusal.first_start)


def _state(running: Invocation, state: str) -> str:
    from handlers.workflow import STATUS_JA, State

    return running.text(ja=f"{STATUS_JA[State(state)]}（{state}）", en=state)


def _possible(running: Invocation, state: str) -> str:
    """The commands that a state allows."""
    from handlers.workflow import TRANSITIONS, Event

    commands = {
        Event.TAKE: "take",
        Event.INQUIRE: "inquire",
        Event.COMPLETE: "complete",
        Event.REJECT: "reject",
        Event.RESCHEDULE: "reschedule",
        Event.RECEIVE_SETTINGS: "settings-received",
        Event.SCHEDULE_WORK: "schedule-work",
        Event.FINISH_WORK: "schedule-work --done",
        Event.ACCEPT_ADDRESS: "accept-address",
        Event.REISSUE_SECRETS: "reissue-password",
        Event.VOID: "void",
    }
    possible = [command for event, command in commands.items() if (state, event) in TRANSITIONS]
    return ", ".join(possible) or running.text(ja="なし", en="none")
