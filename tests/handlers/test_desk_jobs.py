from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from gateway.password_keys import PasswordKeys
from handlers import case_notices, desk_job_runs, desk_jobs
from handlers.desk_jobs import JobKind
from handlers.outcomes import TemplateFault
from handlers.review_case import Reason, Refusal
from handlers.workflow import Event
from storage.models import Application, AuditEvent, DeskJob, IssuedSecret, LogicalTerminal, Mail, MailContent, Recipient
from storage.states import Direction
from storage.states import State as MailState
from storage.store import Store, new_key
from tests.handlers.clock_cases import (
    RECEIPT,
    application_of,
    check_terminals,
    complete,
    day,
    decide,
    ended,
    jobs_of,
    jst,
    notice_text,
    plan,
    run_once,
    run_out,
    set_application,
    set_jobs,
    sweep_out,
    undone,
)
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    START,
    WITH_SMTP_SERVER,
    audited,
    contents,
    line_change,
    no_servers,
    notices_sent,
    receive,
    state_of,
    take_contracts,
)

SETTINGS = ("naccs_terminals", "business_types")


@pytest.fixture
def desk(tmp_path):
    return replace(DESK, data_keys=PasswordKeys(tmp_path / "keys" / "passwords.key"))


@pytest.fixture
def case(store, now, desk):
    """An application that is completed for 2026-12-14."""
    take_contracts(store, now)
    receive(store, now)
    complete(store, now, desk=desk)
    return store


def sent(store, name):
    return [to for template, to in notices_sent(store) if template.endswith(f"/{name}")]


def events(store, name):
    query = select(AuditEvent.detail).where(AuditEvent.event == name).order_by(AuditEvent.id)
    return store.read(lambda session: list(session.scalars(query)))


def test_a_completed_case_has_its_jobs_at_their_instants(case):
    assert undone(case) == {
        ("work_alert", "start 2026-12-14"): jst(day(12, 11), 9),
        ("begin_use", ""): jst(day(12, 14)),
        ("tcc_reminder", ""): jst(day(12, 17), 9),
        ("passwords_closing", "2026-12-16"): jst(day(12, 16), 9),
        ("destroy_secrets", "2026-12-16"): jst(day(12, 17)),
    }
    assert case.read(desk_jobs.next_due) == jst(day(12, 11), 9)


# --- 00:00 JST of the start ------------------------------------------------------------------------------------------


def test_use_begins_at_midnight_in_japan_and_once(case):
    before = jst(START) - timedelta(seconds=1)
    run_out(case, before)
    assert state_of(case) == "ids_issued"
    assert run_out(case, jst(START)) == 1
    assert state_of(case) == "in_use"
    assert len(sent(case, "start-of-use")) == 2
    assert run_out(case, jst(START, 9)) == 0
    assert audited(case, f"application:{RECEIPT}")[-1][:2] == ("begin_use", "gateway")


def test_what_fell_due_while_the_service_was_down_is_made_up_in_order(case, desk):
    assert run_out(case, jst(day(12, 20), 15), desk) == 5
    assert state_of(case) == "in_use"
    done = sorted((job for job in jobs_of(case) if job.done_at is not None), key=lambda job: job.due_at)
    assert [job.kind for job in done] == ["work_alert", "begin_use", "destroy_secrets", "tcc_reminder"]
    assert ended(case, JobKind.PASSWORDS_CLOSING) == ["cancelled"]  # its day had passed
    assert [name for name, _ in notices_sent(case) if name.startswith("applicant/")][-2:] != []
    assert (len(sent(case, "start-of-use")), len(sent(case, "tcc-reminder")), sent(case, "passwords-closing")) == (
        2, 2, [],
    )  # fmt: skip


def test_a_start_of_today_leaves_no_beginning_to_the_clock(store, now):
    take_contracts(store, now)
    receive(store, now)
    complete(store, now, start=day(11, 24))
    assert state_of(store) == "in_use"
    assert ("begin_use", "") not in undone(store)


# --- the communication check -----------------------------------------------------------------------------------------


def test_a_case_is_confirmed_when_every_new_terminal_had_a_normal_tcc(case):
    run_out(case, jst(START))
    assert not case.read(desk_jobs.sweep_is_due)
    check_terminals(case, jst(START, 10))
    assert case.read(desk_jobs.sweep_is_due)
    assert sweep_out(case, jst(START, 11)) > 0
    assert state_of(case) == "checked"
    assert len(sent(case, "communication-checked")) == 2
    assert not case.read(desk_jobs.sweep_is_due)
    assert sweep_out(case, jst(START, 12)) == 0
    run_out(case, jst(day(12, 17), 9))
    assert sent(case, "tcc-reminder") == []


def test_one_terminal_of_two_keeps_the_case_open_and_is_reminded_of(store, now):
    take_contracts(store, now)
    receive(store, now, said=contents(line_change(smtp_servers=2, mail_addresses=2, addresses_of_new_servers=(1, 1))))
    names = [terminal.name for terminal in complete(store, now).terminals]
    run_out(store, jst(START))
    check_terminals(store, jst(START, 10), names[0])
    assert sweep_out(store, jst(START, 11)) == 0
    run_out(store, jst(day(12, 17), 9) - timedelta(seconds=1))
    assert sent(store, "tcc-reminder") == []
    run_out(store, jst(day(12, 17), 9))
    assert len(sent(store, "tcc-reminder")) == 2
    reminder = notice_text(store, "applicant/tcc-reminder", "tsukan-hanako@applicant.example")
    assert (names[1] in reminder, names[0] in reminder) == (True, False)


def test_a_case_without_a_new_terminal_is_neither_confirmed_nor_reminded_of(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    receive(store, now, said=contents(no_servers(terminals_to_delete=("60777S",))))
    complete(store, now)
    assert {kind for kind, _ in undone(store)} == {"begin_use"}
    run_out(store, jst(day(12, 20)))
    assert (state_of(store), sweep_out(store, jst(day(12, 20)))) == ("in_use", 0)
    assert sent(store, "tcc-reminder") == []


# --- system settings -------------------------------------------------------------------------------------------------


@pytest.fixture
def with_settings(store, now, desk):
    """A completed application that needs system settings by the end of 2026-12-08."""
    take_contracts(store, now)
    receive(store, now, said=contents(items=SETTINGS))
    complete(store, now, desk=desk)
    assert application_of(store).settings_deadline == day(12, 8)
    return store


def test_a_case_without_its_system_settings_is_void_after_the_deadline_day(with_settings, desk):
    assert run_out(with_settings, jst(day(12, 9)) - timedelta(seconds=1)) == 0
    assert run_out(with_settings, jst(day(12, 9)), desk) == 1
    assert state_of(with_settings) == "void"
    assert len(sent(with_settings, "application-void")) == 2
    assert undone(with_settings) == {}
    secrets = with_settings.read(lambda session: session.scalars(select(IssuedSecret)).all())
    assert secrets
    assert all(secret.destroyed_at is not None for secret in secrets)
    assert run_out(with_settings, jst(day(12, 30))) == 0


def test_settings_that_came_keep_the_case(with_settings, now):
    decide(with_settings, Event.RECEIVE_SETTINGS, now)
    assert ended(with_settings, JobKind.SETTINGS_DEADLINE) == ["cancelled"]
    run_out(with_settings, jst(day(12, 9)))
    assert state_of(with_settings) == "ids_issued"


def test_a_later_start_moves_the_deadline(with_settings, now):
    decide(with_settings, Event.RESCHEDULE, now, start_date=day(12, 21))
    assert undone(with_settings)["settings_deadline", "2026-12-15"] == jst(day(12, 16))
    run_out(with_settings, jst(day(12, 9)))
    assert state_of(with_settings) == "ids_issued"


def test_a_deadline_moved_by_hand_is_found_out_when_the_old_one_comes(with_settings):
    set_application(with_settings, settings_deadline=day(12, 15))
    run_out(with_settings, jst(day(12, 9)))
    assert state_of(with_settings) == "ids_issued"
    assert ended(with_settings, JobKind.SETTINGS_DEADLINE) == ["cancelled", "undone"]
    assert undone(with_settings)["settings_deadline", "2026-12-15"] == jst(day(12, 16))


def add_mail(store, received, to, state=MailState.RECEIVED):
    """A mail of the public listener, not handled yet unless said otherwise."""

    def work(session):
        mail_id = new_key(session)
        session.add(
            Mail(
                id=mail_id,
                direction=Direction.INBOUND,
                listener="public",
                mail_from="",
                received_at=received,
                size=0,
                content_hash=b"",
            )
        )
        session.add(MailContent(mail_id=mail_id, content=b"Subject: x\r\n\r\n"))
        session.add(
            Recipient(
                id=new_key(session),
                mail_id=mail_id,
                direction=Direction.INBOUND,
                rcpt_to=to,
                state=state,
                created_at=received,
                due_at=received,
                waiting_since=received,
                finished_at=None if state is MailState.RECEIVED else received,
            )
        )

    store.run(work)


def test_a_reply_that_came_in_time_is_handled_before_its_case_is_void(with_settings, desk):
    add_mail(with_settings, jst(day(12, 8), 23, 59), "Case+260001A.abcdefghijklmnop@nss.center.example")
    midnight = jst(day(12, 9))
    assert run_out(with_settings, midnight, desk) == 1
    assert (state_of(with_settings), jobs_of(with_settings, JobKind.SETTINGS_DEADLINE)[0].failures) == ("ids_issued", 0)
    with_settings.run(lambda session: session.execute(update(Recipient).values(state=MailState.HANDLED)))
    assert run_out(with_settings, midnight + timedelta(minutes=1), desk) == 1
    assert state_of(with_settings) == "void"


def test_a_mail_to_the_apply_address_that_came_in_time_may_be_the_reply(with_settings, desk):
    add_mail(with_settings, jst(day(12, 8), 23, 59), "Apply@nss.center.example")
    add_mail(with_settings, jst(day(12, 9)), "apply@nss.center.example")
    midnight = jst(day(12, 9))
    run_out(with_settings, midnight, desk)
    assert state_of(with_settings) == "ids_issued"
    first = select(Mail.id).where(Mail.received_at < midnight, Mail.direction == Direction.INBOUND)
    handled = update(Recipient).where(Recipient.mail_id.in_(first)).values(state=MailState.HANDLED)
    with_settings.run(lambda session: session.execute(handled))
    run_out(with_settings, midnight + timedelta(minutes=1), desk)
    assert state_of(with_settings) == "void"


def test_a_case_whose_missed_deadline_was_put_off_past_its_start_is_not_in_use(with_settings, desk):
    add_mail(with_settings, jst(day(12, 8), 23, 59), "case+260001A.abcdefghijklmnop@nss.center.example")
    back = jst(START, 1)  # the service was down since before the deadline
    run_out(with_settings, back, desk)
    assert state_of(with_settings) == "ids_issued"
    with_settings.run(lambda session: session.execute(update(Recipient).values(state=MailState.HANDLED)))
    run_out(with_settings, back + timedelta(minutes=1), desk)
    assert state_of(with_settings) == "void"


def test_a_reply_that_came_too_late_or_to_another_case_keeps_nothing(with_settings, desk):
    add_mail(with_settings, jst(day(12, 9)), "case+260001A.abcdefghijklmnop@nss.center.example")
    add_mail(with_settings, jst(day(12, 8)), "case+260002A.abcdefghijklmnop@nss.center.example")
    run_out(with_settings, jst(day(12, 9)), desk)
    assert state_of(with_settings) == "void"


# --- passwords -------------------------------------------------------------------------------------------------------


def test_passwords_are_told_to_close_and_destroyed_at_the_end_of_their_day(case, desk):
    run_out(case, jst(START), desk)
    run_out(case, jst(day(12, 16), 9), desk)
    assert len(sent(case, "passwords-closing")) == 2
    run_out(case, jst(day(12, 17)) - timedelta(seconds=1), desk)
    secrets = select(IssuedSecret.destroyed_at)
    assert case.read(lambda session: set(session.scalars(secrets))) == {None}
    run_out(case, jst(day(12, 17)), desk)
    assert case.read(lambda session: set(session.scalars(secrets))) == {jst(day(12, 17))}


def test_passwords_issued_anew_close_and_are_destroyed_again(case, desk):
    run_out(case, jst(day(12, 17)), desk)
    again = jst(day(12, 21), 10)
    decide(case, Event.REISSUE_SECRETS, again, desk=desk)
    assert undone(case)["destroy_secrets", "2026-12-23"] == jst(day(12, 24))
    run_out(case, jst(day(12, 24)), desk)
    assert ended(case, JobKind.DESTROY_SECRETS) == ["done", "done"]
    living = select(IssuedSecret.id).where(IssuedSecret.destroyed_at.is_(None))
    assert case.read(lambda session: session.scalars(living).all()) == []


def test_secrets_without_a_job_get_one(case, desk):
    run_out(case, jst(START), desk)
    case.run(lambda session: session.execute(delete(DeskJob)))
    assert case.read(desk_jobs.sweep_is_due)
    assert sweep_out(case, jst(START, 1)) > 0
    assert ("destroy_secrets", "2026-12-16") in undone(case)


# --- the wall clock is not to be trusted -----------------------------------------------------------------------------


def test_nothing_expires_while_the_clock_is_not_to_be_trusted(with_settings, desk):
    later = jst(day(12, 20))
    handled = run_out(with_settings, later, desk, expires=False)
    assert (handled, state_of(with_settings)) == (0, "ids_issued")  # nor does its use begin before it is judged
    assert with_settings.read(lambda session: desk_jobs.next_due(session, expires=False)) is None
    assert run_out(with_settings, later, desk) > 0
    assert state_of(with_settings) == "void"


def test_what_does_not_expire_goes_on_meanwhile(case, desk):
    run_out(case, jst(START), desk, expires=False)
    assert state_of(case) == "in_use"
    assert sweep_out(case, jst(START), desk, expires=False) == 0
    run_out(case, jst(day(12, 18)), desk, expires=False)
    assert ended(case, JobKind.DESTROY_SECRETS) == ["undone"]


# --- the reviewer ----------------------------------------------------------------------------------------------------


def test_the_reviewer_is_reminded_after_two_business_days_and_each_one_after(store, now):
    take_contracts(store, now)
    receive(store, now)
    assert plan(store, now) == 1
    assert undone(store) == {("review_reminder", "2026-11-26"): jst(day(11, 26), 9)}
    mornings = [jst(day(11, 26), 9), jst(day(11, 27), 9), jst(day(11, 30), 9)]  # a weekend is between
    for number, morning in enumerate(mornings, start=1):
        assert run_out(store, morning - timedelta(seconds=1)) == 0
        assert run_out(store, morning) == 1
        assert len(sent(store, "reminder")) == number
    decide(store, Event.REJECT, now, words="no")
    assert undone(store) == {}


def test_many_waiting_cases_are_one_mail(store, now, monkeypatch):
    take_contracts(store, now)
    for number in range(1, 6):
        receive(store, now, f"26000{number}A")
        plan(store, now, f"26000{number}A")
    assert run_once(store, jst(day(11, 26), 9)) == 5
    assert sent(store, "reminder") == [DESK.reviewer_address]
    assert set(undone(store).values()) == {jst(day(11, 27), 9)}
    set_jobs(store, JobKind.REVIEW_REMINDER, done_at=None)
    monkeypatch.setattr(desk_job_runs, "MOST_REMINDED", 2)
    assert run_once(store, jst(day(11, 27), 9)) == 2


def test_one_reminder_makes_up_for_many_missed_days(store, now):
    take_contracts(store, now)
    receive(store, now)
    plan(store, now)
    assert run_out(store, jst(day(12, 9), 15)) == 1
    assert undone(store) == {("review_reminder", "2026-12-10"): jst(day(12, 10), 9)}


def test_work_that_is_not_done_a_business_day_before_the_start_is_told(case, now):
    assert run_out(case, jst(day(12, 11), 9)) == 1
    assert sent(case, "reminder") == [DESK.reviewer_address]
    assert RECEIPT in notice_text(case, "reviewer/reminder", DESK.reviewer_address)
    # For another start it is told again.
    decide(case, Event.RESCHEDULE, jst(day(12, 11), 10), start_date=day(12, 21))
    assert run_out(case, jst(day(12, 18), 9)) == 1
    assert len(sent(case, "reminder")) == 2


# --- repeats, crashes, failures, several processes ------------------------------------------------------------------


def test_to_plan_again_changes_nothing(case, now):
    before = undone(case)
    assert plan(case, now) == 0
    assert undone(case) == before


def test_a_case_of_an_older_version_gets_its_jobs(case, store, now):
    receive(store, now, "260002A")
    case.run(lambda session: session.execute(delete(DeskJob)))
    assert sweep_out(case, now) >= 3
    assert ("begin_use", "") in undone(case)
    assert ("review_reminder", "2026-11-26") in undone(case)
    assert not case.read(desk_jobs.sweep_is_due)


def test_a_case_that_moved_on_cancels_its_job_without_an_error(case):
    set_application(case, state="in_use")
    assert run_out(case, jst(START)) > 0
    assert ended(case, JobKind.BEGIN_USE) == ["cancelled"]
    assert events(case, "job-failed") == []


def test_a_job_that_fails_leaves_nothing_is_tried_again_and_told(case, monkeypatch):
    def fail(*_given):
        raise TemplateFault("start-of-use: 'terminals' is undefined")

    monkeypatch.setattr(case_notices, "send_start_of_use", fail)
    at = jst(START)
    tries = []
    (job,) = jobs_of(case, JobKind.BEGIN_USE)
    for _ in range(8):
        run_out(case, at)
        (job,) = jobs_of(case, JobKind.BEGIN_USE)
        tries.append(round((job.due_at - at) / timedelta(minutes=1)))
        at = job.due_at
    assert tries == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (state_of(case), job.failures, job.done_at) == ("ids_issued", 8, None)
    assert events(case, "job-failed")[0] == "begin_use : TemplateFault: start-of-use: 'terminals' is undefined"
    assert len(events(case, "job-failed")) == 8
    assert sent(case, "job-failing") == [DESK.operator_address]
    assert plan(case, at - timedelta(seconds=1)) == 0  # to plan again is no new try
    monkeypatch.undo()
    run_out(case, at)
    assert state_of(case) == "in_use"


def test_a_failing_case_holds_up_no_other(store, now):
    take_contracts(store, now)
    for receipt in ("260001A", "260002A"):
        receive(store, now, receipt)
        complete(store, now, receipt=receipt)
    set_application(store, contents="{}")
    run_out(store, jst(START))
    assert (state_of(store), state_of(store, "260002A")) == ("ids_issued", "in_use")
    assert {detail.partition(":")[0] for detail in events(store, "job-failed")} == {
        "begin_use ", "work_alert start 2026-12-14",
    }  # fmt: skip


def test_a_failing_mail_fails_every_reminder_in_it(store, now, monkeypatch):
    take_contracts(store, now)
    receive(store, now)
    plan(store, now)
    monkeypatch.setattr(case_notices, "send_reminder", lambda *_: 1 / 0)
    assert run_out(store, jst(day(11, 26), 9)) == 1
    assert events(store, "job-failed") == ["review_reminder 2026-11-26: ZeroDivisionError"]
    monkeypatch.undo()
    assert run_out(store, jst(day(11, 26), 9) + timedelta(minutes=1)) == 1
    assert len(sent(store, "reminder")) == 1


def test_a_statement_that_fails_is_the_jobs_own_failure(case, monkeypatch):
    def wrong(session, *_given):
        session.execute(
            select(1).where(AuditEvent.__table__.c.id == select(DeskJob.id, DeskJob.kind).scalar_subquery())
        )

    monkeypatch.setattr(case_notices, "send_start_of_use", wrong)
    run_out(case, jst(START))
    assert (state_of(case), len(events(case, "job-failed"))) == ("ids_issued", 1)


def test_a_use_that_cannot_begin_is_not_reminded_of_its_tcc(case, monkeypatch):
    monkeypatch.setattr(case_notices, "send_start_of_use", lambda *_: 1 / 0)
    run_out(case, jst(day(12, 17), 9))
    assert sent(case, "tcc-reminder") == []
    assert [detail for detail in events(case, "job-failed") if detail.startswith("tcc")] == [
        "tcc_reminder : JobRefused: the use has not begun"
    ]


def test_a_crash_in_the_middle_leaves_the_job_undone(case):
    class Crashed(Exception):
        pass

    def work(session):
        desk_jobs.run_due(session, DESK, CALENDAR, jst(day(12, 11), 9))
        desk_jobs.run_due(session, DESK, CALENDAR, jst(START))
        raise Crashed

    with pytest.raises(Crashed):
        case.run(work)
    assert (state_of(case), sent(case, "start-of-use"), ended(case, JobKind.BEGIN_USE)) == (
        "ids_issued",
        [],
        ["undone"],
    )
    again = Store.open(str(case.engines.url.render_as_string(hide_password=False)), "test")
    run_out(again, jst(START))
    assert run_out(again, jst(START)) == 0
    again.close()
    assert (state_of(case), len(sent(case, "start-of-use"))) == ("in_use", 2)


def receive_many(store, now, count):
    """Applications that were completed for the start of the tests, without IDs."""
    receipts = [f"26{number:04d}A" for number in range(1, count + 1)]
    for receipt in receipts:
        receive(store, now, receipt, state="ids_issued", start_date=START)
    for receipt in receipts:
        plan(store, now, receipt)
    set_jobs(store, JobKind.WORK_ALERT, done_at=now)
    return receipts


def beside(store, work):
    """What comes of the same work in two processes at the same time."""
    other = Store.open(str(store.engines.url.render_as_string(hide_password=False)), "test")
    done: list[int] = []
    threads = [threading.Thread(target=lambda one=one: done.append(work(one))) for one in (store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    return done


def test_a_backlog_of_two_hundred_cases_is_worked_off_once(store, now):
    take_contracts(store, now)
    count = 200 if store.engines.on_sqlite else 80
    receive_many(store, now, count)
    if store.engines.on_sqlite:
        done = [run_out(store, jst(START))]  # one service has an SQLite file
    else:
        done = beside(store, lambda one: run_out(one, jst(START)))
        assert min(done) > 0
    assert sum(done) + run_out(store, jst(START)) == count
    states = store.read(lambda session: session.scalars(select(Application.state)).all())
    assert (states, len(sent(store, "start-of-use"))) == (["in_use"] * count, 2 * count)
    assert events(store, "job-failed") == []


def test_two_processes_send_one_reminder_of_many_cases(store, now):
    take_contracts(store, now)
    for number in range(1, 21):
        receive(store, now, f"26{number:04d}A")
        plan(store, now, f"26{number:04d}A")
    assert sum(beside(store, lambda one: run_out(one, jst(day(11, 26), 9)))) == 20
    assert ended(store, JobKind.REVIEW_REMINDER).count("done") == 20
    assert len(sent(store, "reminder")) <= 2


def test_a_case_that_another_process_holds_is_passed_over(case, store, now):
    receive(store, now, "260002A")
    complete(store, now, receipt="260002A")
    set_jobs(store, JobKind.WORK_ALERT, done_at=now)
    if store.engines.on_sqlite:
        pytest.skip("one writer at a time: nothing is held beside it")
    other = Store.open(str(store.engines.url.render_as_string(hide_password=False)), "test")

    def hold(session):
        session.scalars(select(Application).where(Application.receipt_number == RECEIPT).with_for_update()).one()
        assert run_out(other, jst(START)) == 1

    store.run(hold)
    assert (state_of(store), state_of(store, "260002A")) == ("ids_issued", "in_use")
    assert run_out(other, jst(START)) == 1
    other.close()


def test_a_job_of_a_newer_version_is_left_alone(case):
    set_jobs(case, JobKind.BEGIN_USE, kind="of_tomorrow")
    run_out(case, jst(START))
    assert [job.done_at for job in jobs_of(case) if job.kind == "of_tomorrow"] == [None]


def test_held_mail_expires_with_the_sweep_once_the_clock_is_trusted(store, now):
    add_mail(store, now - timedelta(days=15), "apply@nss.center.example", MailState.HELD)
    assert sweep_out(store, now, expires=False) == 0
    assert sweep_out(store, now) == 1
    assert store.read(lambda session: session.scalars(select(Recipient.state)).first()) == MailState.EXPIRED


def test_what_the_case_refuses_is_a_failure_that_says_why(case, monkeypatch):
    monkeypatch.setattr("handlers.reviews.decide", lambda *_: Refusal(Reason.IMPOSSIBLE, "09143"))
    run_out(case, jst(START))
    assert "begin_use : JobRefused: impossible 09143" in events(case, "job-failed")


def test_a_terminal_that_ended_is_not_waited_for(case):
    run_out(case, jst(START))
    case.run(lambda session: session.execute(update(LogicalTerminal).values(effective_until=day(12, 15))))
    assert sweep_out(case, jst(day(12, 16))) == 0
    run_out(case, jst(day(12, 17), 9))
    assert sent(case, "tcc-reminder") == []
