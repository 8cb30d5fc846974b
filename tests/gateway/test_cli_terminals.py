"""`terminal undelivered`: what an operator sees, saves and queues again (semantics §6)."""

from __future__ import annotations

import json
import os
import pwd
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import build, terminals
from storage.committer import Committer
from storage.effects import RECIPIENT, Applied, Insert, NewRecipient, Unit
from tests.gateway.command_line import on_store
from tests.handlers.review_cases import audited, take_contracts
from tests.handlers.stuck_messages import bound, change, give_up, in_lane, pause, put, row_of, set_lane
from tests.handlers.test_terminals import ADDRESS, OFFICES_WITH_TWO_SERVERS, TODAY, only_sqlite, reissue, set_terminal

DAY = timedelta(days=1)
USER = f"os:{pwd.getpwuid(os.getuid()).pw_name}"
COMMAND = ("terminal", "undelivered", "60777S")


@pytest.fixture
def binding(store, now):
    take_contracts(store, now - 60 * DAY, OFFICES_WITH_TWO_SERVERS)
    return bound(store)


@pytest.fixture
def command_line(binding, store, store_url, tmp_path, now):
    assert callable(terminals.register)  # importing the module adds its command
    return on_store(store, store_url, tmp_path, now)


def answered(command_line, answer: str, *arguments: str):
    """The command with something typed at its question."""
    arguments = ("--lang", "en", *COMMAND, *arguments)
    return CliRunner().invoke(build(), arguments, env=command_line.environment, input=answer, catch_exceptions=False)


def test_kinds_and_messages_are_listed_with_what_scripts_rely_on(command_line, store, binding, now):
    given_up = give_up(store, binding, "SAD4031", now - DAY)
    waiting = put(store, binding, "", now - DAY)
    set_lane(store, binding.lane, down_since=now, last_failure="connect: refused")
    shown = command_line.json(*COMMAND)
    assert shown["terminal"] == "60777S"
    assert shown["kinds"] == [
        {"output_code": "SAD4031", "count": 1, "waiting": 0},
        {"output_code": "NOCODE", "count": 1, "waiting": 1},
    ]
    assert shown["messages"] == [
        {
            "recipient_id": str(row_of(store, given_up).id),
            "mail_id": str(given_up),
            "address": ADDRESS,
            "output_code": "SAD4031",
            "state": "undelivered",
            "since": "2026-11-23T01:00:00.000+00:00",
            "size": 11,
            "reason": "450 4.2.0 full",
            "bound": True,
        },
        {
            "recipient_id": str(row_of(store, waiting).id),
            "mail_id": str(waiting),
            "address": ADDRESS,
            "output_code": "NOCODE",
            "state": "queued",
            "since": "2026-11-23T01:00:00.000+00:00",
            "size": 11,
            "reason": "connect: refused",
            "bound": True,
        },
    ]


@only_sqlite
def test_as_text_each_kind_and_each_message_has_a_line(command_line, store, binding, now):
    first, second = give_up(store, binding, "SAD4031", now), put(store, binding, "SAD4031", now)
    pause(store, binding.lane, now)
    assert command_line.run(*COMMAND, lang="en").stdout.splitlines() == [
        "SAD4031  2  (1 of them waiting)",
        f"    {first}  SAD4031  {ADDRESS}  2026-11-24T01:00:00.000+00:00  11  undelivered  450 4.2.0 full",
        f"    {second}  SAD4031  {ADDRESS}  2026-11-24T01:00:00.000+00:00  11  queued  paused by os:op works",
    ]
    listed = command_line.run(*COMMAND, "--limit", "1", lang="ja").stdout.splitlines()
    assert listed[0] == "SAD4031  2  (うち送信待ち 1)"
    assert "未送信  450 4.2.0 full" in listed[1]
    assert listed[2:] == ["ほかに 1 件（--limit）"]


@only_sqlite
def test_a_peers_words_move_no_cursor(command_line, store, binding, now):
    change(store, give_up(store, binding, "SAD4031", now), last_reply="554 \x1b[2Jno")
    assert "\x1b" not in command_line.run(*COMMAND).stdout


@only_sqlite
def test_what_is_past_the_retention_is_counted_and_shown_and_fetched_with_all(command_line, store, binding, now):
    old = give_up(store, binding, "SAD4031", now - 32 * DAY)
    assert command_line.run(*COMMAND, lang="en").stdout.splitlines() == [
        "nothing is undelivered",
        "1 more are past the retention (--all shows them)",
    ]
    assert command_line.json(*COMMAND)["messages"] == []
    assert command_line.json(*COMMAND, "--fetch-all")["fetched"] == []
    assert [row["mail_id"] for row in command_line.json(*COMMAND, "--all")["messages"]] == [str(old)]
    assert command_line.json(*COMMAND, "--all", "--fetch-all", "--yes")["fetched"] == [str(old)]


def test_a_kind_is_queued_again_beside_a_running_service_and_who_did_it_is_recorded(command_line, store, binding, now):
    first, other, second = (give_up(store, binding, code, now) for code in ("SAD4031", "SAD4071", "SAD4031"))
    waiting = put(store, binding, "SAD4031", now)
    shown = command_line.json(*COMMAND, "--fetch", "sad4031", "--yes")
    assert shown["fetched"] == [str(first), str(second)]
    assert in_lane(store, binding.lane) == [waiting, first, second]
    assert row_of(store, other).state == "undelivered"
    assert audited(store, f"mail:{first}") == [("undelivered-fetched", USER, f"{ADDRESS} by a command")]
    again = command_line.run(*COMMAND, "--fetch", "SAD4031", lang="en")
    assert (again.exit_code, again.stdout.splitlines()[-1]) == (0, "0 messages queued again")


@only_sqlite
def test_the_number_is_asked_first_and_without_a_yes_nothing_is_done(command_line, store, binding, now):
    mails = [give_up(store, binding, code, now) for code in ("SAD4031", "")]
    for answer, status in (("n\n", 1), ("\n", 1), ("", 2)):
        refused = answered(command_line, answer, "--fetch-all")
        assert refused.exit_code == status
        assert "queue 2 messages again?" in refused.stderr
        assert ("--yes" in refused.stderr) == (answer == "")  # nobody answered
    assert in_lane(store, binding.lane) == []
    agreed = answered(command_line, "y\n", "--fetch-all", "--json")
    assert agreed.exit_code == 0
    # What is typed is echoed in front of the document.
    document = agreed.stdout[agreed.stdout.index("{") :]
    assert json.loads(document)["fetched"] == [str(mail) for mail in mails]
    assert in_lane(store, binding.lane) == mails


@only_sqlite
def test_messages_without_a_code_are_fetched_by_their_stand_in_or_a_blank(command_line, store, binding, now):
    mail_id = give_up(store, binding, "", now)
    assert command_line.json(*COMMAND, "--fetch", "nocode", "--yes")["fetched"] == [str(mail_id)]
    change(store, mail_id, state="undelivered", finished_at=now)
    assert command_line.json(*COMMAND, "--fetch", "", "--yes")["fetched"] == [str(mail_id)]


@only_sqlite
def test_what_is_not_bound_any_more_is_shown_so_and_stays(command_line, store, binding, now):
    mail_id = give_up(store, binding, "SAD4031", now)
    set_terminal(store, effective_until=TODAY)
    shown = command_line.run(*COMMAND, "--fetch-all", lang="en")
    assert shown.exit_code == 0
    assert "undelivered its binding does not apply today" in shown.stdout
    assert shown.stdout.splitlines()[-1] == "0 messages queued again"
    assert row_of(store, mail_id).state == "undelivered"


@only_sqlite
def test_one_address_can_be_named_and_another_owners_row_is_not_shown(command_line, store, binding, now):
    mine = give_up(store, binding, "SAD4031", now)
    reissue(store)
    give_up(store, bound(store), "SAD4071", now)
    shown = command_line.json(*COMMAND, "--address", ADDRESS.lower())
    assert [row["mail_id"] for row in shown["messages"]] == [str(mine)]


@only_sqlite
def test_messages_are_saved_as_they_go_over_the_wire_open_to_nobody_else(command_line, store, binding, now, tmp_path):
    plain = give_up(store, binding, "SAD4031", now, content=b"Old: x\r\n\r\nbody\r\n")
    own_header = {"header": b"New: y\r\n\r\n", "body_offset": 10}
    headed = give_up(store, binding, "SAD4031", now, content=b"Old: x\r\n\r\nbody\r\n", **own_header)
    directory = tmp_path / "saved" / "here"
    saved = command_line.json(*COMMAND, "--export", str(directory))["exported"]
    assert saved == [str(directory / f"{plain}.eml"), str(directory / f"{headed}.eml")]
    assert [Path(path).read_bytes() for path in saved] == [b"Old: x\r\n\r\nbody\r\n", b"New: y\r\n\r\nbody\r\n"]
    assert [Path(path).stat().st_mode & 0o777 for path in (*saved, str(directory))] == [0o600, 0o600, 0o700]
    assert command_line.run(*COMMAND, "--export", str(directory)).exit_code == 0
    Path(saved[0]).write_bytes(b"other")
    refused = command_line.run(*COMMAND, "--export", str(directory))
    assert (refused.exit_code, Path(saved[0]).read_bytes()) == (1, b"other")
    assert row_of(store, plain).state == "undelivered"


@only_sqlite
def test_one_mail_to_two_addresses_is_saved_twice(command_line, store, binding, now, tmp_path):
    mail_id = give_up(store, binding, "SAD4031", now)
    row = row_of(store, mail_id)
    copy = NewRecipient(
        id=store.new_key(),
        mail_id=mail_id,
        direction="outbound",
        rcpt_to=ADDRESS,
        state="undelivered",
        created_at=0,
        due_at=0,
        header=b"Copy: y\r\n\r\n",
        address_id=row.address_id,
    )
    assert isinstance(Committer(store).commit([Unit(inserts=(Insert(RECIPIENT, copy.values()),))])[0], Applied)
    store.run(lambda session: session.get_one(type(row), copy.id).__setattr__("finished_at", now))
    command_line.run(*COMMAND, "--export", str(tmp_path / "saved"))
    assert sorted(file.name for file in (tmp_path / "saved").iterdir()) == [f"{mail_id}-2.eml", f"{mail_id}.eml"]


@only_sqlite
def test_a_symbolic_link_is_not_followed(command_line, store, binding, now, tmp_path):
    mail_id = give_up(store, binding, "SAD4031", now)
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    (tmp_path / f"{mail_id}.eml").symlink_to(target)
    assert command_line.run(*COMMAND, "--export", str(tmp_path)).exit_code == 1
    assert target.read_bytes() == b"kept"


@only_sqlite
def test_a_terminal_or_address_that_is_not_there_ends_with_1_and_wrong_usage_with_2(command_line):
    unknown = command_line.run("terminal", "undelivered", "99999S", lang="en")
    assert (unknown.exit_code, unknown.stderr) == (1, "there is no terminal 99999S, or it has no mail address\n")
    assert command_line.run("terminal", "undelivered", "99999S", lang="ja").exit_code == 1
    other = command_line.run(*COMMAND, "--address", "x@y.example", lang="en")
    assert (other.exit_code, other.stderr) == (1, "terminal 60777S has no mail address x@y.example\n")
    assert command_line.run(*COMMAND, "--fetch", "SAD4031", "--fetch-all").exit_code == 2
    assert command_line.run(*COMMAND, "--limit", "0").exit_code == 2
    assert command_line.run("terminal", "undelivered").exit_code == 2
    nothing = command_line.run("terminal", "undelivered", "60777s", lang="ja")
    assert (nothing.exit_code, nothing.stdout) == (0, "未送信電文はありません。\n")
