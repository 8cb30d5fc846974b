"""`mail list` and `mail show`: what an operator sees of a mail (semantics §9, §11)."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from handlers import case_tokens
from storage.columns import to_micros
from storage.committer import Committer
from storage.effects import ATTEMPT, Applied, Insert, Unit
from storage.mail_queue import Arrival, Origin, Secret, arrival
from storage.store import Store
from tests.gateway.command_line import on_store
from tests.gateway.test_health import only_sqlite
from tests.gateway.test_listeners import edi_mail
from tests.handlers.review_cases import DESK
from tests.handlers.test_terminals import ADDRESS
from tests.storage.units import handled, outbound

CENTER = "NACCS@SMTP.CENTER.EXAMPLE"
BOUNCE = f"{case_tokens.bounce_local_part(DESK.token_key, 17)}@nss.center.example"
TOKEN = BOUNCE.partition(".")[2].partition("@")[0]
LANE = "terminal:60777S"


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    return on_store(store, store_url, tmp_path, now)


def commit(store: Store, *units: Unit) -> None:
    outcomes = Committer(store).commit(units)
    assert all(isinstance(outcome, Applied) for outcome in outcomes), outcomes


def put(
    store: Store, now: datetime, *, listener: str = "naccs", mail_from: str = ADDRESS, rcpt_to: str = CENTER
) -> Arrival:
    origin = Origin(
        listener=listener, peer="127.20.13.13", helo_name="60777S", mail_from=mail_from, map_version=3, damage="nul"
    )
    content = edi_mail()
    at = content.index(b"PASSWD01")
    secret = Secret(content=content.replace(b"PASSWD01", b" " * 8), offset=at, original=b"PASSWD01")
    _, unit = arrival(store.new_key, origin, [(rcpt_to, "key")], content, now, secret)
    commit(store, unit)
    found: Arrival = unit.notes[0].payload
    return found


def answered(store: Store, now: datetime) -> Arrival:
    """A handled request with its result in a lane, tried once."""
    found = put(store, now)
    queued = outbound(store.new_key, found.mail_id, LANE, now)
    commit(store, Unit(changes=(handled(found, now + timedelta(seconds=2)),), queued=(queued,)))
    tried = (store.new_key(), queued.recipient.id, to_micros(now), "temporary", "rcpt", "450 4.2.0 full")
    commit(store, Unit(inserts=(Insert(ATTEMPT, tried),)))
    return found


@only_sqlite
def test_mails_are_listed_newest_first_with_what_scripts_rely_on(command_line, store, now):
    first, second = put(store, now), put(store, now + timedelta(seconds=1), mail_from="B@X.EXAMPLE")
    listed = command_line.json("mail", "list")
    assert [mail["id"] for mail in listed] == [str(second.mail_id), str(first.mail_id)]
    assert listed[1] == {
        "id": str(first.mail_id),
        "direction": "inbound",
        "listener": "naccs",
        "mail_from": ADDRESS,
        "received_at": "2026-11-24T01:00:00.000+00:00",
        "recipients": [{"rcpt_to": CENTER, "state": "received", "destination": None, "attempts": 0, "last_reply": ""}],
        "unmatched": False,
    }


@only_sqlite
def test_a_list_can_be_of_one_state_and_of_so_many(command_line, store, now):
    waiting, done = put(store, now), answered(store, now)
    assert [mail["id"] for mail in command_line.json("mail", "list", "--state", "handled")] == [str(done.mail_id)]
    assert [mail["id"] for mail in command_line.json("mail", "list", "--state", "received")] == [str(waiting.mail_id)]
    assert command_line.json("mail", "list", "--state", "parked") == []
    assert [mail["id"] for mail in command_line.json("mail", "list", "--limit", "1")] == [str(done.mail_id)]
    assert command_line.run("mail", "list", "--limit", "0").exit_code == 2
    assert command_line.run("mail", "list", "--limit", "1001").exit_code == 2


@only_sqlite
def test_as_text_each_recipient_has_a_line(command_line, store, now):
    found = answered(store, now)
    shown = command_line.run("mail", "list").stdout.splitlines()
    assert shown == [
        f"{found.mail_id}  2026-11-24T01:00:00.000+00:00  naccs    from=<{ADDRESS}>",
        f"    <{CENTER}>  handled",
        "    <A@X.EXAMPLE>  queued",
    ]


@only_sqlite
def test_no_command_shows_a_password_or_the_token_of_an_address(command_line, store, now):
    found = put(store, now, listener="gateway", mail_from=BOUNCE, rcpt_to=BOUNCE.upper())
    for arguments in (("mail", "list"), ("mail", "show", str(found.mail_id)), ("explain", str(found.mail_id))):
        for form in ((), ("--json",)):
            shown = command_line.run(*arguments, *form)
            assert shown.exit_code == 0
            assert not re.search(f"PASSWD01|{TOKEN}", shown.output, re.IGNORECASE)
            assert "bounce+17.***@nss.center.example" in shown.output


@only_sqlite
def test_an_empty_store_has_nothing_to_list(command_line):
    assert command_line.json("mail", "list") == []
    assert command_line.run("mail", "list").stdout == ""


@only_sqlite
def test_a_list_goes_on_below_the_last_mail_of_the_one_before(command_line, store, now):
    ids = [str(put(store, now).mail_id) for _ in range(5)][::-1]
    shown = command_line.run("mail", "list", "--limit", "2", lang="en")
    assert shown.stderr == f"more with --before {ids[1]}\n"
    following = command_line.json("mail", "list", "--limit", "2", "--before", ids[1])
    assert [mail["id"] for mail in following] == ids[2:4]
    assert [mail["id"] for mail in command_line.json("mail", "list", "--before", ids[3])] == ids[4:]
    assert command_line.run("mail", "list", "--before", "x").exit_code == 2


@only_sqlite
def test_a_filter_that_names_nothing_known_is_refused_and_a_wrong_one_is_wrong_usage(command_line, store, now):
    put(store, now)
    for option, value, said in (
        ("--terminal", "99999S", "there is no terminal 99999S\n"),
        ("--receipt", "269999A", "there is no application 269999A\n"),
    ):
        refused = command_line.run("mail", "list", option, value, lang="en")
        assert (refused.exit_code, refused.stderr) == (1, said)
    states = command_line.run("mail", "list", "--state", "sent")
    assert states.exit_code == 2
    assert "received, handled" in " ".join(states.stderr.split())
    for option, value in (
        ("--direction", "up"),
        ("--since", "yesterday"),
        ("--until", "2026-13-01"),
        ("--address", "60777S"),
        ("--handover", "1" * 27),
        ("--message-id", "<>"),
    ):
        wrong = command_line.run("mail", "list", option, value)
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert option in wrong.stderr


@only_sqlite
def test_a_list_can_be_of_a_time_an_address_and_a_direction(command_line, store, now):
    old, new = put(store, now - timedelta(hours=3)), put(store, now - timedelta(minutes=5), mail_from="B@X.EXAMPLE")

    def found(*options):
        return [mail["id"] for mail in command_line.json("mail", "list", *options)]

    assert found("--since", "1h") == [str(new.mail_id)]
    assert found("--until", "1h") == [str(old.mail_id)]
    assert found("--since", "2026-11-24T06:00", "--until", "2026-11-24T08:00+09:00") == [str(old.mail_id)]
    assert found("--address", "b@x.example") == [str(new.mail_id)]
    assert found("--direction", "outbound") == []


@only_sqlite
def test_a_mail_is_shown_with_its_header_and_text_and_no_password(command_line, store, now):
    found = put(store, now)
    shown = command_line.json("mail", "show", str(found.mail_id))
    assert (shown["id"], shown["peer"], shown["size"]) == (str(found.mail_id), "127.20.13.13", len(edi_mail()))
    assert {"name": "from", "value": ADDRESS} in shown["headers"]
    assert shown["text"].startswith("   TCC")
    text = command_line.run("mail", "show", str(found.mail_id)).stdout
    assert f"\nfrom: {ADDRESS}\n" in text
    assert "PASSWD01" not in text + str(shown)


@only_sqlite
def test_the_bytes_of_a_mail_are_written_with_the_password_blanked(command_line, store, now):
    found = put(store, now)
    written = command_line.run("mail", "show", str(found.mail_id), "--raw")
    assert written.stdout_bytes == edi_mail().replace(b"PASSWD01", b" " * 8)
    assert command_line.run("mail", "show", str(found.mail_id), "--raw", "--json").exit_code == 2


@only_sqlite
def test_what_controls_a_terminal_is_not_written_to_one(command_line, store, now):
    origin = Origin(listener="public", mail_from="evil@x.example")
    content = b"Subject: a\r\n\r\n\x1b]0;owned\x07text\r\nline\r\n"
    _, unit = arrival(store.new_key, origin, [("apply@nss.center.example", "")], content, now)
    commit(store, replace(unit, notes=()))
    shown = command_line.run("mail", "show", str(unit.notes[0].payload.mail_id)).stdout
    assert "\x1b" not in shown
    assert "text\nline" in shown


@only_sqlite
def test_a_mail_that_is_not_there_ends_with_status_1_and_no_number_with_2(command_line, store, now):
    assert command_line.run("mail", "show", "17", lang="en").stderr == "there is no mail 17\n"
    assert command_line.run("mail", "show", "17", "--json").exit_code == 1
    for wrong in ("x", "", "1.5", "<17@center.example>"):
        assert command_line.run("mail", "show", wrong).exit_code == 2
