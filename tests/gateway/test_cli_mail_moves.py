"""`mail retry|park|release|resend|cancel`: by id or filter, asked first, nothing executed twice (semantics §1, §5)."""

from __future__ import annotations

import os
import pwd

import pytest
from typer.testing import CliRunner

from gateway.cli import build, mail_moves
from handlers.mail_operations import Operation, Reason
from storage.states import State
from tests.gateway.command_line import on_store
from tests.gateway.test_health import only_sqlite
from tests.handlers import stuck_messages
from tests.handlers.exchanged_mails import mail_of, outbound, request, set_outbound, tried
from tests.handlers.review_cases import WITH_SMTP_SERVER, audited, take_contracts

LANE = "terminal:60777S"
USER = f"os:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    return on_store(store, store_url, tmp_path, now)


@pytest.fixture
def binding(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    return stuck_messages.bound(store)


def queued(store, binding, now, number=2):
    return [stuck_messages.put(store, binding, "SAD4031", now) for _ in range(number)]


def test_a_mail_is_parked_by_its_id_and_released_again(command_line, store, now, binding):
    first, second = queued(store, binding, now)
    report = command_line.json("mail", "park", str(first), "--reason", "works")
    (moved,) = report["moved"]
    assert (report["done"], report["refused"]) == (True, [])
    assert (moved["mail_id"], moved["before"], moved["after"], moved["lane"]) == (str(first), "queued", "parked", LANE)
    assert audited(store, f"mail:{first}") == [("mail-parked", USER, f"{binding.address} works")]
    shown = command_line.run("mail", "release", str(first))
    assert (shown.exit_code, shown.stdout) == (0, f"{first}  <{binding.address}>  parked -> queued\n")
    assert stuck_messages.in_lane(store, LANE) == [second, first]


@only_sqlite
def test_what_filters_find_is_counted_and_asked_for_first(command_line, store, now, binding):
    mails = queued(store, binding, now, 3)

    def run(answer, *options):
        arguments = ["--lang", "en", "mail", "cancel", "--terminal", "60777S", *options]
        return CliRunner().invoke(build(), arguments, env=command_line.environment, input=answer)

    for answer, status in (("n\n", 1), ("", 2)):
        asked = run(answer)
        assert asked.exit_code == status
        assert "3 mails would be cancelled, go on?" in asked.stderr
        assert stuck_messages.in_lane(store, LANE) == mails
    assert run("y\n", "--dry-run").stderr == ""
    assert stuck_messages.in_lane(store, LANE) == mails
    assert run("y\n").exit_code == 0
    assert stuck_messages.in_lane(store, LANE) == []
    assert command_line.run("mail", "cancel", "--terminal", "60777S").stdout == "対象のメールはありません。\n"


@only_sqlite
def test_a_dry_run_lists_what_would_be_done_and_what_not(command_line, store, now, binding):
    parked = queued(store, binding, now)
    _, taken = (set_outbound(store, mail_id, state=State.PARKED) for mail_id in parked)
    tried(store, taken, now, "250 2.0.0 taken", outcome="in_doubt")
    result = command_line.run("mail", "release", "--terminal", "60777S", "--dry-run", lang="en")
    assert result.exit_code == 1
    assert result.stdout == f"{parked[0]}  <{binding.address}>  parked -> queued\n"
    assert f"{parked[1]}  <{binding.address}>  its terminal's server took it (250 2.0.0 taken)" in result.stderr
    assert stuck_messages.in_lane(store, LANE) == []
    assert command_line.run("mail", "release", "--terminal", "60777S", "--yes", "--force").exit_code == 0
    assert stuck_messages.in_lane(store, LANE) == parked


@only_sqlite
def test_a_request_that_may_have_been_executed_is_refused_with_the_reason(command_line, store, now, binding):
    mail_id = mail_of(store, request(store, binding, now, claimed_at=now))
    set_outbound(store, mail_id, state=State.PARKED)
    refused = command_line.run("mail", "release", str(mail_id), "--force", "--json", lang="en")
    assert refused.exit_code == 1
    assert '"refusal": "claimed"' in refused.stdout
    assert "could be executed twice" in refused.stdout
    assert outbound(store, mail_id).state == "parked"


@only_sqlite
def test_all_that_waits_is_moved_in_its_order_however_many(command_line, store, now, binding):
    mails = queued(store, binding, now, 205)
    assert command_line.run("mail", "park", "--terminal", "60777S", "--yes").exit_code == 0
    released = command_line.run("mail", "release", "--terminal", "60777S", "--yes")
    assert released.stderr == "200/205\n205/205\n"
    assert stuck_messages.in_lane(store, LANE) == mails


@only_sqlite
def test_a_resend_by_filter_takes_what_was_delivered_only_when_it_says_so(command_line, store, now, binding):
    stuck, there = stuck_messages.give_up(store, binding, "SAD4031", now), queued(store, binding, now, 1)[0]
    set_outbound(store, there, state=State.DELIVERED)
    report = command_line.json("mail", "resend", "--terminal", "60777S", "--yes")
    assert [one["mail_id"] for one in report["moved"]] == [str(stuck)]
    again = command_line.json("mail", "resend", "--terminal", "60777S", "--state", "delivered", "--yes")
    assert [one["mail_id"] for one in again["moved"]] == [str(there)]
    assert stuck_messages.in_lane(store, LANE) == [stuck, there]


@only_sqlite
def test_a_retry_is_told(command_line, store, now, binding):
    (mail_id,) = queued(store, binding, now, 1)
    assert command_line.json("mail", "retry", str(mail_id))["moved"][0]["after"] == "queued"


@only_sqlite
def test_what_cannot_be_moved_ends_with_status_1_and_wrong_usage_with_2(command_line, store, now, binding):
    stuck = stuck_messages.give_up(store, binding, "SAD4031", now)
    missing = command_line.run("mail", "park", "17", lang="en")
    assert (missing.exit_code, missing.stderr) == (1, "17  <>  there is no such mail\n")
    wrong = command_line.run("mail", "park", str(stuck), lang="en")
    assert (wrong.exit_code, wrong.stderr) == (1, f"{stuck}  <{binding.address}>  its state is undelivered\n")
    for usage in (
        ("park",),
        ("park", "x"),
        ("park", str(stuck), "--force"),
        ("park", "--state", "delivered"),
        ("park", "--state", "sent"),
        ("release", "--direction", "up"),
    ):
        assert command_line.run("mail", *usage).exit_code == 2, usage


def test_every_operation_and_refusal_has_its_sentence():
    assert set(mail_moves.OPERATIONS) == set(Operation)
    assert set(mail_moves.REFUSALS) == set(Reason)
    assert all(all(texts) for texts in (*mail_moves.OPERATIONS.values(), *mail_moves.REFUSALS.values()))
