"""The golden mails: what the real handlers send in fixed stories on a fixed day, as text a person can read.

`python -m tests.mail_templates.golden_mails` writes the files anew; what changed is then read in the diff. `CASES` are
the mails that no event of the workflow sends, and variants of those that one sends. The mails of events are in
`golden/events/<event>/`: `<mail>.<states>.txt` is what the event sends in all the states it names, and
`<mail>.in-english.txt` is the administrator's copy in both languages.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from handlers.case_history import EntryKind
from handlers.case_notices import NotTaken, ReminderKind
from handlers.desk import DeskSettings
from handlers.workflow import Event, State
from handlers.works import WorkMode
from storage.store import Store
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT, mail_to
from tests.handlers.review_cases import DESK
from tests.mail_templates.case_stories import PATHS, desk_in
from tests.mail_templates.event_mails import read_bilingual_mails, read_mails, sending
from tests.mail_templates.mail_stories import (
    UNREGISTERED,
    Story,
    amended_wrongly,
    asked_for,
    by_a_machine,
    completed,
    completed_with_every_change,
    completed_without_terminals,
    down,
    from_a_stranger,
    gave_up,
    held_for_too_long,
    in_english,
    in_state,
    job_failing,
    kept,
    news,
    overdue,
    overdue_by_the_dozen,
    parked,
    passwords_close,
    received,
    received_with_everything,
    reminded,
    replied_by_a_machine,
    reply_from_a_stranger,
    unchecked,
    void_with_every_change,
    with_another_item,
    with_other_lines,
    without_administrator,
    work,
    work_moved,
    wrong,
)

GOLDEN = Path(__file__).parent / "golden"
EVENTS = GOLDEN / "events"
_KEY = re.compile(r"(?<![0-9])[0-9]{17,19}(?![0-9])")
_IN_ENGLISH = "in-english"


def readable(raw: bytes) -> str:
    """A mail as a person reads it; keys are replaced, since the store makes others each time."""
    mail: EmailMessage = message_from_bytes(raw, policy=default)
    lines = [f"{name}: {value}" for name, value in mail.items()]
    for part in [mail] if not mail.is_multipart() else list(mail.iter_parts()):
        assert isinstance(part, EmailMessage)
        content = part.get_content()
        name = part.get_filename()
        lines += ["", f"--- {name} ---"] if name else [""]
        text = content if isinstance(content, str) else _text_of(part.get_content_type(), content)
        lines += text.splitlines()
    return _KEY.sub("<key>", "\n".join(line.rstrip() for line in lines)) + "\n"


def _text_of(content_type: str, content: bytes) -> str:
    return content.decode() if content_type.endswith("/json") else f"({content_type})"


# What a mail asked for by its mark, and the state that kept it from being done.
KEPT: dict[NotTaken, tuple[State, str]] = {
    NotTaken.TOO_LATE: (State.IDS_ISSUED, "修正"),
    NotTaken.ENDED: (State.WITHDRAWN, "修正"),
    NotTaken.NO_INQUIRY: (State.UNDER_REVIEW, "回答"),
    NotTaken.NO_SETTINGS: (State.RECEIVED, "システム設定申込"),
    NotTaken.SETTINGS_LATE: (State.IN_USE, "システム設定申込"),
}
# File name -> what happens, the template, and to whom it goes.
CASES: dict[str, tuple[Story, str, str]] = {
    "application-received": (received, "applicant/application-received", CONTACT),
    "application-received-with-everything": (received_with_everything, "applicant/application-received", ADMINISTRATOR),
    "application-received-unregistered": (received_with_everything, "applicant/application-received", UNREGISTERED),
    "application-received-other-lines": (with_other_lines, "applicant/application-received", CONTACT),
    "application-received-another-item": (with_another_item, "applicant/application-received", CONTACT),
    "review-requested": (received, "reviewer/review-requested", DESK.reviewer_address),
    "review-requested-with-everything": (
        received_with_everything,
        "reviewer/review-requested",
        DESK.reviewer_address,
    ),
    "review-requested-other-lines": (with_other_lines, "reviewer/review-requested", DESK.reviewer_address),
    "review-requested-another-item": (with_another_item, "reviewer/review-requested", DESK.reviewer_address),
    "application-invalid": (wrong, "applicant/application-invalid", CONTACT),
    "application-held": (from_a_stranger, "applicant/application-held", ADMINISTRATOR),
    "application-held-reply": (reply_from_a_stranger, "applicant/application-held", ADMINISTRATOR),
    "application-waiting-reply": (reply_from_a_stranger, "reviewer/application-waiting", DESK.reviewer_address),
    "application-waiting": (from_a_stranger, "reviewer/application-waiting", DESK.reviewer_address),
    "held-expired": (held_for_too_long, "reviewer/held-expired", DESK.reviewer_address),
    "automatic-form": (by_a_machine, "reviewer/automatic-form", DESK.reviewer_address),
    "automatic-form-reply": (replied_by_a_machine, "reviewer/automatic-form", DESK.reviewer_address),
    "amendment-invalid": (amended_wrongly, "applicant/amendment-invalid", CONTACT),
    "no-administrator-address": (without_administrator, "reviewer/no-administrator-address", DESK.reviewer_address),
    "mail-parked": (parked, "operator/mail-parked", DESK.operator_address),
    "request-overdue": (overdue, "operator/request-overdue", DESK.operator_address),
    "request-overdue-by-the-dozen": (overdue_by_the_dozen, "operator/request-overdue", DESK.operator_address),
    "destination-down": (down, "operator/destination-down", DESK.operator_address),
    "delivery-gave-up": (gave_up, "operator/delivery-gave-up", DESK.operator_address),
    "job-failing": (job_failing, "operator/job-failing", DESK.operator_address),
    "review-complete": (completed, "applicant/review-complete", CONTACT),
    "id-notice": (completed, "applicant/id-notice", ADMINISTRATOR),
    "id-notice-every-change": (completed_with_every_change, "applicant/id-notice", CONTACT),
    "id-notice-without-terminals": (completed_without_terminals, "applicant/id-notice", CONTACT),
    "application-void-every-change": (void_with_every_change, "applicant/application-void", CONTACT),
    "work-schedule-on-site": (work(WorkMode.ON_SITE, spare_router=True), "applicant/work-schedule", ADMINISTRATOR),
    "work-schedule-shared-line": (work(WorkMode.REMOTE), "applicant/work-schedule", "butsuryu@other.example"),
    "work-schedule-new-line": (work(WorkMode.ON_SITE, new_line=True), "applicant/work-schedule", ADMINISTRATOR),
    "work-schedule-moved": (work_moved(), "applicant/work-schedule", ADMINISTRATOR),
    "work-schedule-same-window": (work_moved(days=0), "applicant/work-schedule", ADMINISTRATOR),
    "tcc-reminder": (unchecked, "applicant/tcc-reminder", CONTACT),
    "passwords-closing": (passwords_close, "applicant/passwords-closing", CONTACT),
    **{f"status-report-{state}": (in_state(state), "applicant/status-report", CONTACT) for state in PATHS},
    **{
        f"status-report-{not_taken.replace('_', '-')}": (
            in_state(state, not_taken=not_taken, mark=mark),
            "applicant/status-report",
            CONTACT,
        )
        for not_taken, (state, mark) in KEPT.items()
    },
    **{
        f"case-news-{not_taken.replace('_', '-')}": (
            kept(state, not_taken, mark),
            "reviewer/case-news",
            DESK.reviewer_address,
        )
        for not_taken, (state, mark) in KEPT.items()
    },
    "case-news-unanswered": (
        kept(State.IDS_ISSUED, NotTaken.TOO_LATE, "取下げ", answered=False),
        "reviewer/case-news",
        DESK.reviewer_address,
    ),
    "status-report-with-papers": (
        in_state(State.IN_USE, papers=("変更申込書.pdf", "変更承認通知.pdf")),
        "applicant/status-report",
        CONTACT,
    ),
    "case-news-settings": (
        news(EntryKind.SETTINGS, "【システム設定申込】\n添付ファイル: 設定申込書.xlsx（12KB）"),
        "reviewer/case-news",
        DESK.reviewer_address,
    ),
    "case-news-question": (
        news(EntryKind.QUESTION, "審査はいつごろ終わりますか。"),
        "reviewer/case-news",
        DESK.reviewer_address,
    ),
    "case-news-bounced": (
        news(
            EntryKind.BOUNCED,
            "Status: 5.1.1; Diagnostic-Code: smtp; 550 5.1.1 unknown",
            "mailer-daemon@applicant.example",
        ),
        "reviewer/case-news",
        DESK.reviewer_address,
    ),
    "reminder-review": (reminded(ReminderKind.REVIEW_WAITING, 2), "reviewer/reminder", DESK.reviewer_address),
    "reminder-work": (reminded(ReminderKind.WORK_NOT_DONE), "reviewer/reminder", DESK.reviewer_address),
    "blank-form": (asked_for("form"), "applicant/blank-form", CONTACT),
    "schedule": (asked_for("schedule"), "applicant/schedule", CONTACT),
    "schedule-empty": (asked_for("schedule", 0), "applicant/schedule", CONTACT),
}
# The same in both languages, one of each mail; those of events are with the others of their event.
_BILINGUAL = {
    "application-held": "application-held",
    "application-received": "application-received-with-everything",
    "application-received-unregistered": "application-received-unregistered",
    "blank-form": "blank-form",
    "id-notice": "id-notice-every-change",
    "passwords-closing": "passwords-closing",
    "review-complete": "review-complete",
    "schedule": "schedule",
    "status-report": "status-report-with-papers",
    "tcc-reminder": "tcc-reminder",
    "work-schedule": "work-schedule-on-site",
    "work-schedule-moved": "work-schedule-moved",
    "work-schedule-same-window": "work-schedule-same-window",
}
CASES |= {f"{mail}-{_IN_ENGLISH}": (in_english(CASES[case][0]), *CASES[case][1:]) for mail, case in _BILINGUAL.items()}


def made(name: str, store: Store) -> bytes:
    """The mail of a case, made in an empty store."""
    story, template, address = CASES[name]
    story(store)
    return mail_to(store, template, address)


@contextmanager
def empty_store() -> Iterator[tuple[Store, DeskSettings]]:
    """An SQLite store with nothing in it, and the desk that uses it."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store.open(f"sqlite:///{directory}/gateway.db", "test")
        yield store, desk_in(Path(directory))
        store.close()


def event_texts() -> Iterator[tuple[str, str]]:
    """Path below `events/` and text of every mail of an event."""
    found: dict[tuple[Event, str, str], list[State]] = defaultdict(list)
    for state, event in sending():
        with empty_store() as (store, desk):
            for name, raw in read_mails(store, desk, state, event).items():
                states = found[event, name, readable(raw)]
                states.append(state)
    for (event, name, text), states in found.items():
        yield f"{event}/{name.rpartition('/')[2]}.{'+'.join(states)}.txt", text
    for event, state in {event: state for state, event in sending()}.items():
        with empty_store() as (store, desk):
            for name, raw in read_bilingual_mails(store, desk, state, event).items():
                yield f"{event}/{name.rpartition('/')[2]}.{_IN_ENGLISH}.txt", readable(raw)


def event_file(event: Event, name: str, state: State) -> Path:
    """The file of a mail as an event sends it when it happens in a state."""
    files = EVENTS.joinpath(event).glob(f"{name.rpartition('/')[2]}.*.txt")
    return next(file for file in files if state in file.name.split(".")[1].split("+"))


def english_event_file(event: Event, name: str) -> Path:
    """The file of the same in both languages."""
    return EVENTS / event / f"{name.rpartition('/')[2]}.{_IN_ENGLISH}.txt"


def write_all() -> None:
    """Write every golden file anew."""
    for file in GOLDEN.rglob("*.txt"):
        file.unlink()
    for name in CASES:
        with empty_store() as (store, _):
            (GOLDEN / f"{name}.txt").write_text(readable(made(name, store)), encoding="utf-8")
    for path, text in event_texts():
        (EVENTS / path).parent.mkdir(exist_ok=True, parents=True)
        (EVENTS / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_all()
