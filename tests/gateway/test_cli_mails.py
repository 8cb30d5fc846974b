"""`mail list` and `explain`: what an operator sees of a mail (semantics §9, §11)."""

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


def test_a_mail_is_explained_with_its_recipients_and_every_try(command_line, store, now):
    found = answered(store, now)
    explained = command_line.json("explain", str(found.mail_id))
    assert {key: explained[key] for key in ("id", "peer", "size", "damage", "template", "message_id")} == {
        "id": str(found.mail_id),
        "peer": "127.20.13.13",
        "size": len(edi_mail()),
        "damage": "nul",
        "template": "",
        "message_id": "",
    }
    request, result = explained["recipients"]
    assert (request["state"], request["map_version"], request["tries"]) == ("handled", "3", [])
    assert request["since"] == "2026-11-24T01:00:02.000+00:00"
    assert (result["state"], result["destination"], result["in_doubt"]) == ("queued", LANE, 0)
    assert result["since"] == result["due_at"] == "2026-11-24T01:00:00.000+00:00"
    assert result["tries"] == [
        {"at": "2026-11-24T01:00:00.000+00:00", "outcome": "temporary", "stage": "rcpt", "reply": "450 4.2.0 full"}
    ]


@only_sqlite
def test_an_explanation_as_text_says_the_same(command_line, store, now):
    found = answered(store, now)
    text = command_line.run("explain", str(found.mail_id)).stdout
    assert text.startswith(f"mail {found.mail_id}: inbound, naccs, from=<{ADDRESS}>\n")
    for part in (
        f"from peer 127.20.13.13, {len(edi_mail())} bytes",
        f"<{CENTER}> handled since 2026-11-24T01:00:02",
        f"lane {LANE}",
        "temporary at rcpt: 450 4.2.0 full",
    ):
        assert part in text


@only_sqlite
def test_no_command_shows_a_password_or_the_token_of_an_address(command_line, store, now):
    found = put(store, now, listener="gateway", mail_from=BOUNCE, rcpt_to=BOUNCE.upper())
    for arguments in (("mail", "list"), ("explain", str(found.mail_id))):
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
def test_a_mail_that_is_not_there_ends_with_status_1_and_no_number_with_2(command_line, store, now):
    put(store, now)
    assert command_line.run("explain", "17", lang="en").stderr == "there is no mail 17\n"
    assert command_line.run("explain", "17", lang="ja").stderr == "メール 17 はありません\n"
    assert command_line.run("explain", "17").exit_code == 1
    assert command_line.run("explain", "17", "--json").exit_code == 1
    for wrong in ("x", "", "1.5", "<17@center.example>"):
        assert command_line.run("explain", wrong).exit_code == 2


@only_sqlite
def test_a_mail_without_a_peer_or_attempts_is_explained_too(command_line, store, now):
    origin = Origin(listener="gateway", mail_from="")
    _, unit = arrival(store.new_key, origin, [("A@X.EXAMPLE", "")], b"x", now)
    commit(store, replace(unit, notes=()))
    text = command_line.run("explain", str(unit.notes[0].payload.mail_id)).stdout
    assert "from peer -, 1 bytes" in text
    assert "attempts 0, last: -" in text
