"""One unit of work of the clock: what is due of one case, or one reminder of many cases, under their rows' locks.

Several processes never do a job twice, and a crash leaves it undone. Each job is kept whole or not at all. One whose
case has moved on is cancelled or moved. One that fails is put back for longer and longer, written down, and told the
operator; it holds up no other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from handlers import case_lanes, case_notices, notices
from handlers.calendar import BusinessCalendar
from handlers.desk import DeskSettings
from handlers.desk_job_kinds import KINDS, JobKind, JobRefused, PutOff, Turn, facts_of
from handlers.desk_job_plans import plan, to_do
from handlers.lane_pauses import GATEWAY
from handlers.notice_templates import one_line
from handlers.notices import Notice
from handlers.outcomes import TemplateFault
from storage.failures import Failure, classify
from storage.models import Application, AuditEvent, DeskJob, MapVersion
from storage.savepoint import whole_or_nothing
from storage.store import new_key

MOST_JOBS = 20  # of a case in one unit of work
MOST_REMINDED = 50  # cases in one mail
_MOST_LOOKED_AT = 100
_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=1)
_TOLD_AT = 5  # failures, after half an hour; again each day
_TOLD_AGAIN = 24
_LONGEST_REASON = 300

_REMINDERS = tuple(kind for kind, row in KINDS.items() if row.reminder is not None)
_WINDOWS = (JobKind.WORK_OPEN, JobKind.WORK_CLOSE)
_ON_THE_MAP = tuple(kind for kind, row in KINDS.items() if row.changes_map)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingJob:
    """A job as the operator's mail shows it."""

    receipt_number: str
    kind: str
    failures: int
    reason: str
    next_try: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One unit of work of the clock."""

    session: Session
    desk: DeskSettings
    calendar: BusinessCalendar
    now: datetime
    expires: bool

    def first(self, kinds: Collection[JobKind]) -> int:
        """Do what is due of the first case that no other process is busy with."""
        in_order = select(DeskJob.application_id, DeskJob.kind).where(*self._due(kinds)).limit(_MOST_LOOKED_AT)
        tried: set[int | str] = set()
        for case_id, kind in self.session.execute(in_order.order_by(DeskJob.due_at, DeskJob.id)).all():
            what = kind if kind in _REMINDERS else case_id
            if what in tried:
                continue
            tried.add(what)
            done = self._remind(JobKind(kind)) if kind in _REMINDERS else self._case(case_id, kinds)
            if done:
                return done
        return 0

    def _due(self, kinds: Collection[JobKind]) -> tuple[ColumnElement[bool], ...]:
        return (*to_do(kinds, expires=self.expires), DeskJob.due_at <= self.now)

    def _case(self, case_id: int, kinds: Collection[JobKind]) -> int:
        """Do the jobs of one case in their order. Locks go map, case, lanes, addresses, as in every decision."""
        own = (DeskJob.application_id == case_id, *self._due(kinds), DeskJob.kind.not_in(_REMINDERS))
        on_the_map = select(DeskJob.id).where(*own, DeskJob.kind.in_(_ON_THE_MAP))
        if self.session.scalar(on_the_map.limit(1)) is not None:
            self.session.execute(select(MapVersion.version).with_for_update())
        cases = self._locked(Application.id == case_id)
        if not cases:
            return 0
        jobs = _up_to_a_window(self._jobs(own, MOST_JOBS))
        if any(_is_told(job.failures + 1) for job in jobs):
            case_lanes.lock(self.session, self.desk, cases, [notices.operator(self.desk)])
        for job in jobs:
            self._guarded(cases, [job], partial(self._do, cases[0], job))
        return len(jobs)

    def _locked(self, which: ColumnElement[bool]) -> Sequence[Application]:
        """Cases that no other process is busy with, as they stand now."""
        query = select(Application).where(which).order_by(Application.id).with_for_update(skip_locked=True)
        return self.session.scalars(query, execution_options={"populate_existing": True}).all()

    def _jobs(self, which: tuple[ColumnElement[bool], ...], most: int) -> Sequence[DeskJob]:
        """Jobs of cases that are locked, in their order."""
        query = select(DeskJob).where(*which).order_by(DeskJob.due_at, DeskJob.id).limit(most).with_for_update()
        return self.session.scalars(query, execution_options={"populate_existing": True}).all()

    def _do(self, application: Application, job: DeskJob) -> None:
        # One before it in this unit of work may have cancelled or moved it.
        turn = self._turn(application, job)
        act = KINDS[JobKind(job.kind)].act
        if turn is None or act is None:
            return
        job.done_at = self.now
        self.session.flush()
        if not act(turn):
            job.done_at, job.cancelled_at = None, self.now

    def _turn(self, application: Application, job: DeskJob) -> Turn | None:
        """The job's turn; None when the case does not call for it now, and the jobs are put right."""
        if job.cancelled_at is not None or job.due_at > self.now:
            return None
        facts = facts_of(self.session, self.desk, application, self.calendar)
        due = KINDS[JobKind(job.kind)].due(facts).get(job.key)
        if due is None or due > self.now:
            job.failures = 0
            plan(self.session, self.desk, application, self.calendar, self.now)
            return None
        return Turn(
            session=self.session,
            desk=self.desk,
            calendar=self.calendar,
            facts=facts,
            key=job.key,
            now=self.now,
        )

    def _remind(self, kind: JobKind) -> int:
        """Tell the reviewer of all cases for which a reminder of this kind is due, in one mail."""
        due = self._due((kind,))
        ids = select(DeskJob.application_id).where(*due).order_by(DeskJob.due_at, DeskJob.id).limit(MOST_REMINDED)
        cases = {each.id: each for each in self._locked(Application.id.in_(self.session.scalars(ids).all()))}
        jobs = self._jobs((DeskJob.application_id.in_(cases), *due), MOST_REMINDED)
        if any(_is_told(job.failures + 1) for job in jobs):
            case_lanes.lock(self.session, self.desk, (), [notices.reviewer(self.desk), notices.operator(self.desk)])
        standing: list[DeskJob] = []
        for job in jobs:
            case = cases[job.application_id]
            self._guarded([case], [job], partial(self._keep_if_due, case, job, standing))
        told = [cases[case_id] for case_id in dict.fromkeys(job.application_id for job in standing)]
        self._guarded(told, standing, partial(self._send_reminder, kind, told, standing))
        return len(jobs)

    def _keep_if_due(self, application: Application, job: DeskJob, standing: list[DeskJob]) -> None:
        if self._turn(application, job) is not None:
            standing.append(job)

    def _send_reminder(self, kind: JobKind, cases: Sequence[Application], jobs: Sequence[DeskJob]) -> None:
        reminder = KINDS[kind].reminder
        if not jobs or reminder is None:
            return
        for job in jobs:
            job.done_at = self.now
        self.session.flush()
        case_notices.send_reminder(self.session, self.desk, cases, reminder, self.now)
        for case in cases:
            plan(self.session, self.desk, case, self.calendar, self.now)

    def _guarded(self, cases: Sequence[Application], jobs: Sequence[DeskJob], work: Callable[[], None]) -> None:
        """Keep the work whole or not at all; what fails is put back. Trouble of the store is the whole unit's."""
        try:
            with whole_or_nothing(self.session):
                work()
                self.session.flush()
        except PutOff as put_off:
            for job in jobs:
                job.due_at = put_off.until
        except DBAPIError as error:
            if classify(error) is not Failure.STATEMENT:
                raise
            # A driver's own text may hold the bytes of a mail.
            self._failed(cases, jobs, type(error).__name__)
        except (TemplateFault, JobRefused) as error:
            self._failed(cases, jobs, f"{type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it was, it comes again later and holds up no other job
            self._failed(cases, jobs, type(error).__name__)

    def _failed(self, cases: Sequence[Application], jobs: Sequence[DeskJob], reason: str) -> None:
        receipts = {case.id: case.receipt_number for case in cases}
        told: list[FailingJob] = []
        for job in jobs:
            job.failures += 1
            job.due_at = self.now + _pause(job.failures)
            receipt = receipts[job.application_id]
            self._record_failure(receipt, f"{job.kind} {job.key}: {reason}")
            if _is_told(job.failures):
                told.append(
                    FailingJob(
                        receipt_number=receipt,
                        kind=job.kind,
                        failures=job.failures,
                        reason=one_line(reason, at_most=_LONGEST_REASON),
                        next_try=job.due_at,
                    )
                )
        self.session.flush()
        if told:
            self._tell_operator(told)

    def _record_failure(self, receipt: str, detail: str) -> None:
        self.session.add(
            AuditEvent(
                id=new_key(self.session),
                occurred_at=self.now,
                actor=GATEWAY,
                event="job-failed",
                subject=f"application:{receipt}",
                detail=detail,
            )
        )

    def _tell_operator(self, jobs: Sequence[FailingJob]) -> None:
        notice = Notice(
            name="operator/job-failing",
            to=notices.operator(self.desk),
            reply_to=self.desk.operator_address,
            context={"jobs": jobs, "total": len(jobs)},
        )
        # The audit events tell of it where no mail can.
        with contextlib.suppress(TemplateFault), whole_or_nothing(self.session):
            notices.send(self.session, self.desk, notice, self.now)


def _up_to_a_window(jobs: Sequence[DeskJob]) -> Sequence[DeskJob]:
    """As many of the first jobs as lock lanes in order: what opens or closes a window is the last of its unit."""
    ends = (at for at, job in enumerate(jobs, 1) if job.kind in _WINDOWS)
    return jobs[: next(ends, len(jobs))]


def _is_told(failures: int) -> bool:
    return failures >= _TOLD_AT and (failures - _TOLD_AT) % _TOLD_AGAIN == 0


def _pause(failures: int) -> timedelta:
    doubled: int = 2 ** min(failures - 1, 10)
    return min(_FIRST_PAUSE * doubled, _LONGEST_PAUSE)
