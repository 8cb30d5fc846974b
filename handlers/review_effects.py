"""How each effect of the workflow's table is done: one function an effect, in the transaction of the decision.

Mails are queued before what locks addresses; lanes are locked in the order of their names. An effect that cannot be
done raises TurnedDown, and nothing of the decision stays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date

from handlers import (
    allocation,
    amendments,
    case_lanes,
    case_notices,
    id_notices,
    issued_secrets,
    review_dates,
    review_proposals,
    works,
)
from handlers.allocation import AllocationImpossible
from handlers.allocation_events import told
from handlers.calendar import jst_date
from handlers.case_history import EntryKind
from handlers.review_case import Case, Reason, Refusal, TurnedDown
from handlers.work_rows import replaced_by
from handlers.work_warnings import WINDOW_AHEAD, warnings_of_start
from handlers.workflow import Effect, Event
from storage.models import Line, Work


def _take_over(case: Case) -> None:
    if case.application.taken_by:
        case.facts["taken_from"] = case.application.taken_by
    case.application.taken_by = case.actor


def _accept_address(case: Case) -> None:
    case.application.address_accepted = True
    case.facts["address"] = case.application.applicant_email


def _send_inquiry(case: Case) -> None:
    case.sent += case_notices.send_inquiry(case.session, case.desk, case.application, case.details.words, case.now)


# What a reviewer is told about, by the event that happened.
_NEWS: dict[Event, EntryKind] = {
    Event.ANSWER: EntryKind.ANSWER,
    Event.AMEND: EntryKind.AMENDMENT,
    Event.PROPOSE: EntryKind.PROPOSED,
    Event.WITHDRAW: EntryKind.WITHDRAWAL,
    Event.VOID: EntryKind.VOID,
}


def _tell_reviewer(case: Case) -> None:
    author = case.details.author or case.actor
    case.sent += case_notices.tell_reviewer(
        case.session,
        case.desk,
        case.application,
        _NEWS[case.event],
        case.details.words,
        author,
        case.now,
        changes=() if case.details.amendment is None else case.details.amendment.changes,
    )


def _amend(case: Case) -> None:
    if case.details.amendment is None:
        raise TurnedDown(Refusal(Reason.WORDS_NEEDED))
    amendments.apply(case.session, case.application, case.details.amendment, case.actor, case.now)
    case.contents = case.details.amendment.contents


def _send_amendment_received(case: Case) -> None:
    if case.details.amendment is not None:
        case.sent += case_notices.send_amendment_received(
            case.session, case.desk, case.application, case.details.amendment.changes, case.now
        )


def _propose(case: Case) -> None:
    _warn_of_start(case, review_dates.check_completion(case))
    review_proposals.propose(case)


def _confirm_start_date(case: Case) -> None:
    review_dates.confirm_start_date(case)
    _warn_of_start(case, case.confirmed_start)


def _move_start(case: Case) -> None:
    review_dates.move_start(case)
    _warn_of_start(case, case.application.start_date or case.application.desired_start_date)


def _warn_of_start(case: Case, start: date) -> None:
    case.work_warnings = warnings_of_start(case.session, case.application, start, case.today)


def _drop_proposal(case: Case) -> None:
    review_proposals.drop(case.application)


def _send_review_complete(case: Case) -> None:
    # Queued before anything is allocated: lanes are locked before addresses.
    id_notices.send_review_complete(
        case.session,
        case.desk,
        case.application,
        case.calendar,
        case.now,
        needs_system_settings=case.contents.needs_system_settings,
    )


def _issue_ids(case: Case) -> None:
    with _told(case):
        case.terminals = allocation.allocate(case.session, case.desk, case.order())
    works.pause_newcomers(case.session, case.application.office_id, case.now)


def _told(case: Case) -> AbstractContextManager[None]:
    """What the case does to the map inside is told by audit events."""
    return told(case.session, case.application, case.actor, case.now)


def _issue_secrets(case: Case) -> None:
    issued_secrets.issue(case.session, case.desk, case.application, case.terminals, case.now)


def _send_id_notice(case: Case) -> None:
    id_notices.send_id_notice(case.session, case.desk, case.application, case.terminals, case.now)


def _plan_jobs(case: Case) -> None:
    from handlers import desk_jobs  # a decision plans jobs, and jobs decide

    desk_jobs.plan(case.session, case.desk, case.application, case.calendar, case.now)


def _record_settings(case: Case) -> None:
    if not case.contents.needs_system_settings:
        raise TurnedDown(Refusal(Reason.SETTINGS_NOT_NEEDED))
    deadline, arrived_at = case.application.settings_deadline, case.details.arrived_at or case.now
    if deadline is not None and deadline < jst_date(arrived_at):
        raise TurnedDown(Refusal(Reason.SETTINGS_LATE, deadline.isoformat()))
    if case.application.settings_received_at is None:
        case.application.settings_received_at = arrived_at


def _send_settings_received(case: Case) -> None:
    case.sent += case_notices.send_settings_received(case.session, case.desk, case.application, case.now)


def _move_ids(case: Case) -> None:
    with _told(case):
        allocation.move_start(case.session, case.order(case.start_before), case.confirmed_start)


def _send_rescheduled(case: Case) -> None:
    case.sent += case_notices.send_rescheduled(case.session, case.desk, case.application, case.start_before, case.now)


_NOT_ARRANGED: dict[type[AllocationImpossible], Reason] = {
    works.WindowEnded: Reason.WINDOW_ENDED,
    works.WorkUnchanged: Reason.WORK_UNCHANGED,
    works.LineNotNamed: Reason.LINE_NOT_NAMED,
}


def _record_work(case: Case) -> None:
    if case.details.work is None:
        raise TurnedDown(Refusal(Reason.NO_WORK))
    # The window of a former work may close here, before the mail about this one is queued.
    case_lanes.lock(case.session, case.desk, [case.application])
    try:
        case.work = works.schedule(case.session, case.desk, case.application, case.details.work, case.actor, case.now)
    except (works.WindowEnded, works.WorkUnchanged, works.LineNotNamed) as impossible:
        raise TurnedDown(Refusal(_NOT_ARRANGED[type(impossible)], impossible.subject)) from None
    case.work_warnings = works.warnings(case.work, _line_of(case, case.work), case.now)
    _note_work(case, case.work)


def _send_work_schedule(case: Case) -> None:
    if case.work is not None:
        line = _line_of(case, case.work)
        case.sent += case_notices.send_work_schedule(
            case.session, case.desk, case.application, case.work, line, case.now
        )


def _line_of(case: Case, work: Work) -> Line | None:
    """The line of work; None for one still to be made."""
    return None if work.line_id is None else case.session.get_one(Line, work.line_id)


def _record_work_done(case: Case) -> None:
    wanted = case.details.work_id
    done = works.finish(case.session, case.application, wanted, case.actor, case.now)
    if done is None and wanted is not None:
        ids = (str(work.id) for work in works.undone(case.session, case.application))
        raise TurnedDown(Refusal(Reason.WORK_NOT_FOUND, ", ".join(ids) or "-"))
    if done is None:
        raise TurnedDown(Refusal(Reason.NO_WORK))
    case.work = done
    if done.begins_at > case.now:
        case.work_warnings = (WINDOW_AHEAD,)
    _note_work(case, done)


def _note_work(case: Case, work: Work) -> None:
    case.facts |= {
        "work_id": str(work.id),
        "mode": work.mode,
        "begins_at": work.begins_at.isoformat(),
        "ends_at": work.ends_at.isoformat(),
        "done": work.done_at is not None,
    }
    former = None if work.done_at is not None else replaced_by(case.session, work)
    if former is not None:
        case.facts |= {
            "replaces": str(former.id),
            "replaced_mode": former.mode,
            "replaced_begins_at": former.begins_at.isoformat(),
            "replaced_ends_at": former.ends_at.isoformat(),
        }


def _reissue_secrets(case: Case) -> None:
    until = review_dates.open_password_window(case)
    if not issued_secrets.reissue(case.session, case.desk, case.application, until, case.now):
        raise TurnedDown(Refusal(Reason.SECRETS_GONE))
    case.facts["until"] = until.isoformat()


def _send_passwords_reissued(case: Case) -> None:
    until = case.application.passwords_until or case.today
    case.sent += case_notices.send_passwords_reissued(case.session, case.desk, case.application, until, case.now)


def _change_lines(case: Case) -> None:
    with _told(case):
        allocation.change_lines(case.session, case.order())


def _send_start_of_use(case: Case) -> None:
    case.sent += case_notices.send_start_of_use(case.session, case.desk, case.application, case.now)


def _record_checked(case: Case) -> None:
    case.application.checked_at = case.now


def _send_communication_checked(case: Case) -> None:
    case.sent += case_notices.send_communication_checked(case.session, case.desk, case.application, case.now)


def _cancel_jobs(case: Case) -> None:
    from handlers import desk_jobs  # a decision plans jobs, and jobs decide

    desk_jobs.cancel_all(case.session, case.application, case.now)


def _cancel_work(case: Case) -> None:
    case_lanes.lock(case.session, case.desk, [case.application])  # of all its works, before the first is called off
    works.cancel_all(case.session, case.application, case.now)


def _send_withdrawal_received(case: Case) -> None:
    case.sent += case_notices.send_withdrawal_received(case.session, case.desk, case.application, case.now)


def _send_rejected(case: Case) -> None:
    case.sent += case_notices.send_rejected(case.session, case.desk, case.application, case.details.words, case.now)


def _send_void(case: Case) -> None:
    case.sent += case_notices.send_void(
        case.session,
        case.desk,
        case.application,
        case.details.words,
        case.application.settings_deadline,
        case.now,
    )


def _take_ids_back(case: Case) -> None:
    with _told(case):
        allocation.take_back(case.session, case.desk, case.order())


def _destroy_secrets(case: Case) -> None:
    issued_secrets.destroy(case.session, case.desk, case.application, case.now)


EFFECTS: dict[Effect, Callable[[Case], None]] = {
    Effect.TAKE_OVER: _take_over,
    Effect.ACCEPT_ADDRESS: _accept_address,
    Effect.SEND_INQUIRY: _send_inquiry,
    Effect.TELL_REVIEWER: _tell_reviewer,
    Effect.AMEND: _amend,
    Effect.SEND_AMENDMENT_RECEIVED: _send_amendment_received,
    Effect.PROPOSE: _propose,
    Effect.DROP_PROPOSAL: _drop_proposal,
    Effect.CONFIRM_START_DATE: _confirm_start_date,
    Effect.SEND_REVIEW_COMPLETE: _send_review_complete,
    Effect.ISSUE_IDS: _issue_ids,
    Effect.ISSUE_SECRETS: _issue_secrets,
    Effect.SEND_ID_NOTICE: _send_id_notice,
    Effect.PLAN_JOBS: _plan_jobs,
    Effect.RECORD_SETTINGS: _record_settings,
    Effect.SEND_SETTINGS_RECEIVED: _send_settings_received,
    Effect.MOVE_START: _move_start,
    Effect.MOVE_IDS: _move_ids,
    Effect.SEND_RESCHEDULED: _send_rescheduled,
    Effect.RECORD_WORK: _record_work,
    Effect.SEND_WORK_SCHEDULE: _send_work_schedule,
    Effect.RECORD_WORK_DONE: _record_work_done,
    Effect.REISSUE_SECRETS: _reissue_secrets,
    Effect.SEND_PASSWORDS_REISSUED: _send_passwords_reissued,
    Effect.CHANGE_LINES: _change_lines,
    Effect.SEND_START_OF_USE: _send_start_of_use,
    Effect.RECORD_CHECKED: _record_checked,
    Effect.SEND_COMMUNICATION_CHECKED: _send_communication_checked,
    Effect.CANCEL_JOBS: _cancel_jobs,
    Effect.CANCEL_WORK: _cancel_work,
    Effect.SEND_WITHDRAWAL_RECEIVED: _send_withdrawal_received,
    Effect.SEND_REJECTED: _send_rejected,
    Effect.TAKE_IDS_BACK: _take_ids_back,
    Effect.DESTROY_SECRETS: _destroy_secrets,
    Effect.SEND_VOID: _send_void,
}
