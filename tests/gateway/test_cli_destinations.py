"""`destination list|show|pause|resume|flush|switch|release-request`."""

from __future__ import annotations

import os
import pwd
from datetime import datetime, timedelta

import pytest

from tests.gateway.command_line import on_store
from tests.gateway.test_health import only_sqlite
from tests.handlers import stuck_messages
from tests.handlers.exchanged_mails import mail_of, request
from tests.handlers.review_cases import WITH_SMTP_SERVER, audited, take_contracts
from tests.handlers.test_terminals import ADDRESS

LANE = "terminal:60777S"
USER = f"os:{pwd.getpwuid(os.getuid()).pw_name}"
WITH_BACKUP = {
    "NACCS_GATEWAY_BACKEND__MODE": "smtp",
    "NACCS_GATEWAY_BACKEND__HOST": "127.0.0.1",
    "NACCS_GATEWAY_BACKEND__BACKUP_HOST": "127.0.0.2",
}


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    return on_store(store, store_url, tmp_path, now)


@pytest.fixture
def binding(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    return stuck_messages.bound(store)


def test_destinations_are_listed_with_what_waits_and_why(command_line, store, now, binding):
    stuck_messages.put(store, binding, "SAD4031", now)
    down = {"down_since": now, "failures": 2, "last_failure": "Connection refused", "next_try_at": now}
    stuck_messages.set_lane(store, LANE, **down)
    stuck_messages.set_lane(store, "backend")
    backend, terminal = command_line.json("destination", "list")
    assert terminal == {
        "lane": LANE,
        "queued": 1,
        "undelivered": 0,
        "oldest_waiting_since": "2026-11-24T01:00:00.000+00:00",
        "paused": None,
        "work": None,
        "down_since": "2026-11-24T01:00:00.000+00:00",
        "failures": 2,
        "last_failure": "Connection refused",
        "next_try_at": "2026-11-24T01:00:00.000+00:00",
        "flushed_at": None,
        "endpoint": "",
        "endpoint_since": None,
        "wanted_endpoint": "",
        "drill_until": None,
    }
    assert (backend["lane"], backend["endpoint"], backend["wanted_endpoint"]) == ("backend", "primary", "auto")
    assert [lane["lane"] for lane in command_line.json("destination", "list", "--troubled")] == [LANE]
    text = command_line.run("destination", "list", lang="en").stdout
    assert f"{LANE}  queued 1  undelivered 0 oldest 2026-11-24T01:00:00" in text
    assert "2 tries, next 2026-11-24T01:00:00.000+00:00: Connection refused" in text


@only_sqlite
def test_a_destination_that_carried_nothing_is_paused_and_resumed_once(command_line, store, binding):
    paused = command_line.json("destination", "pause", "60777s", "--reason", "works")["paused"]
    assert (paused["actor"], paused["reason"]) == (USER, "works")
    again = command_line.run("destination", "pause", LANE, lang="en")
    assert again.exit_code == 1
    assert f"by {USER} works" in again.stderr
    assert "works" in command_line.run("destination", "show", "60777S").stdout
    assert command_line.json("destination", "resume", "60777S")["paused"] is None
    refused = command_line.run("destination", "resume", "60777S", lang="en")
    assert (refused.exit_code, refused.stderr) == (1, "60777S is not paused\n")


@only_sqlite
def test_a_destination_is_flushed(command_line, store, now, binding):
    # The tests' clock is moved by whole seconds.
    flushed_at = datetime.fromisoformat(command_line.json("destination", "flush", "60777S")["flushed_at"])
    assert abs(flushed_at - now) < timedelta(minutes=1)
    assert audited(store, f"lane:{LANE}") == [("destination-flushed", USER, "")]


@only_sqlite
def test_the_backend_is_switched_where_there_is_a_backup(command_line, store):
    switched = command_line.run(
        "destination", "switch", "backend", "--to", "backup", "--drill", "30min", lang="en", **WITH_BACKUP
    )
    assert switched.exit_code == 0, switched.output
    assert "endpoint primary, wanted backup, drill until 2026-11-24T01:" in switched.stdout
    refused = command_line.run("destination", "switch", "backend", "--to", "backup", lang="en")
    assert (refused.exit_code, refused.stderr) == (1, "backend.backup_host is not set\n")
    let_go = command_line.json("destination", "switch", "backend", "--to", "auto")
    assert (let_go["wanted_endpoint"], let_go["drill_until"]) == ("auto", None)


@only_sqlite
def test_the_wait_for_a_result_is_ended(command_line, store, now, binding):
    asked = request(store, binding, now, claimed_at=now, outstanding_until=now + timedelta(hours=1))
    (ended,) = command_line.json("destination", "release-request", ADDRESS)
    assert ended == {"request_id": str(asked.id), "mail_id": str(mail_of(store, asked)), "address": ADDRESS}
    refused = command_line.run("destination", "release-request", str(asked.id), lang="en")
    assert (refused.exit_code, refused.stderr) == (1, f"{asked.id} waits for no result\n")


@only_sqlite
def test_unknown_destinations_end_with_status_1_and_wrong_usage_with_2(command_line, binding):
    for command in ("show", "pause", "resume", "flush"):
        refused = command_line.run("destination", command, "99999S", lang="en")
        assert (refused.exit_code, refused.stderr) == (1, "there is no destination 99999S\n")
    for usage in (
        ("60777S", "--to", "backup"),
        ("backend", "--to", "third"),
        ("backend",),
        ("backend", "--to", "auto", "--drill", "1h"),
        ("backend", "--to", "backup", "--drill", "long"),
        ("backend", "--to", "backup", "--drill", "0s"),
    ):
        assert command_line.run("destination", "switch", *usage, **WITH_BACKUP).exit_code == 2, usage
