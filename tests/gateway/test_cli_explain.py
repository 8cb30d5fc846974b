"""`explain`: what an operator is told of anything that has a name (design §7, §10)."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import update

from gateway.cli import explain_words
from gateway.failures import FailureClass, Stage
from handlers.address_explanations import Fate
from handlers.naccs.first_check import REFUSAL_CODE, REFUSAL_NOTE
from handlers.output_destination_file import WantedDestination
from handlers.output_destinations import register_destinations
from storage.models import LogicalTerminal, Request
from storage.states import Direction, State
from tests.gateway.command_line import on_store
from tests.gateway.test_health import only_sqlite
from tests.handlers import stuck_messages
from tests.handlers.clock_cases import order, run_out, schedule
from tests.handlers.exchanged_mails import (
    add_mail,
    add_recipient,
    mail_of,
    outbound,
    request,
    result,
    result_mail,
    tried,
)
from tests.handlers.review_cases import WITH_SMTP_SERVER, receive, take_contracts
from tests.handlers.test_terminals import ADDRESS

CENTER = "NACCS@SMTP.CENTER.EXAMPLE"


@pytest.fixture
def command_line(store, store_url, tmp_path, now):
    return on_store(store, store_url, tmp_path, now)


@pytest.fixture
def binding(store, now):
    take_contracts(store, now, WITH_SMTP_SERVER)
    return stuck_messages.bound(store)


def match(command_line, what):
    found = command_line.json("explain", str(what))
    assert found["what"] == str(what)
    (one,) = found["matches"]
    return one


def test_a_mail_is_explained_with_every_try_and_what_comes_next(command_line, store, now, binding):
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    tried(store, outbound(store, mail_id).id, now, "450 4.2.0 full")
    stuck_messages.set_lane(store, binding.lane, down_since=now, next_try_at=now + timedelta(minutes=1))
    found = match(command_line, mail_id)
    assert (found["kind"], found["id"], found["listener"]) == ("mail", str(mail_id), "gateway")
    (recipient,) = found["recipients"]
    assert (recipient["state"], recipient["why"], recipient["next_try_at"]) == (
        "queued", "down", "2026-11-24T01:01:00.000+00:00",
    )  # fmt: skip
    assert recipient["tries"] == [
        {"at": "2026-11-24T01:00:00.000+00:00", "outcome": "temporary", "stage": "dot", "reply": "450 4.2.0 full"}
    ]
    text = command_line.run("explain", str(mail_id), lang="en").stdout
    assert text.startswith(f"mail {mail_id}: outbound, gateway, from=<{CENTER}>\n")
    for part in ("its destination does not answer; next try 2026-11-24T01:01", "temporary at dot: 450 4.2.0 full"):
        assert part in text


@only_sqlite
def test_a_handover_value_leads_to_requests_results_and_their_codes(command_line, store, now, binding):
    asked = request(store, binding, now, "H1", claimed_at=now)
    mail_id = result(store, binding, now, asked, result_mail("A0004"))
    found = match(command_line, "H1")
    (one,) = found["requests"]
    assert (one["request"]["request_id"], one["request"]["state"]) == (str(asked.id), "answered")
    assert one["results"][0]["mail_id"] == str(mail_id)
    shown = command_line.run("explain", "H1", lang="en").stdout
    assert f"request {asked.id} (mail {mail_of(store, asked)}) OTA H1 N1: answered" in shown
    assert "A0004-0000-0000: The user password is not valid. Check the user password" in shown


@only_sqlite
def test_an_address_is_explained_with_where_it_leads_and_the_replies(command_line, store, now, binding):
    found = match(command_line, ADDRESS.lower())
    assert (found["kind"], found["fate"], found["may_send_from"]) == ("address", "delivered", "127.20.13.13")
    assert found["replies"]["rcpt_to_it_from_a_terminal"] == "550 5.7.1 Not permitted"
    shown = command_line.run("explain", ADDRESS, lang="en").stdout
    assert "a result that comes now: goes to terminal:60777S at 127.20.13.13:2525" in shown
    assert f"MAIL FROM:<{ADDRESS}> 127.20.13.13: 250 2.1.0 Sender ok" in shown
    assert "TST01 001 *" in shown
    assert "PASSWD01" not in shown
    assert "センターのアドレス" in command_line.run("explain", CENTER).stdout


@only_sqlite
def test_a_terminal_a_lane_and_a_receipt_are_explained(command_line, store, now, binding):
    request(store, binding, now)
    receive(store, now, "260001A")
    assert match(command_line, "60777S")["destination"]["lane"] == "terminal:60777S"
    assert match(command_line, "backend")["destination"]["queued"] == 1
    assert match(command_line, "260001A")["state"] == "received"
    assert "論理端末 60777S SMTP CT0001 09143 127.20.13.13:2525" in command_line.run("explain", "60777S").stdout
    assert "backend  待ち 1  未送信 0" in command_line.run("explain", "backend").stdout
    assert "application 260001A received CT0001" in command_line.run("explain", "260001A", lang="en").stdout


def test_a_lane_that_work_pauses_names_its_application_and_times(command_line, store, now, binding):
    receive(store, now, "260001A")
    mail_id = stuck_messages.put(store, binding, "SAD4031", now)
    work = schedule(store, now, order(now))
    run_out(store, now)
    for what in ("60777S", ADDRESS, mail_id):
        found = match(command_line, what)
        (recipient,) = found.get("recipients", [found])
        named = recipient["work"] if "work" in recipient else recipient["destination"]["work"]
        assert named == {
            "work_id": str(work.id),
            "receipt_number": "260001A",
            "begins_at": "2026-11-24T01:00:00.000+00:00",
            "ends_at": "2026-11-24T03:00:00.000+00:00",
        }
    assert "waits until 2026-11-24T03:00:00.000+00:00 for the work on its line, application 260001A" in (
        command_line.run("explain", str(mail_id), lang="en").stdout
    )
    assert "回線工事 申込 260001A  2026-11-24T01:00" in command_line.run("explain", "60777S").stdout


@only_sqlite
def test_what_a_new_terminal_asks_before_its_first_tcc_is_marked(command_line, store, now, binding):
    terminal = update(LogicalTerminal).where(LogicalTerminal.name == "60777S")
    asked = request(store, binding, now, "H1")
    request(store, binding, now, "H2", procedure="TCC")

    def marks():
        found = [match(command_line, what)["requests"][0]["request"]["before_check"] for what in ("H1", "H2")]
        return [*found, match(command_line, "60777S")["awaits_check"]]

    assert marks() == [False, False, False]  # of the register, not of an application
    store.run(lambda session: session.execute(terminal.values(application_id=1)))
    assert marks() == [True, False, True]
    assert "came before the first TCC" in command_line.run("explain", str(asked.id), lang="en").stdout
    assert "通信確認（TCC）がまだ" in command_line.run("explain", "60777S").stdout
    store.run(lambda session: session.execute(terminal.values(checked_at=now + timedelta(seconds=1))))
    assert marks()[0] is True
    store.run(lambda session: session.execute(terminal.values(checked_at=now)))
    assert marks() == [False, False, False]


def refused(store, binding, now, note: str, code: str) -> int:
    """A request that the gateway answered itself, and its answer in the terminal's lane; the request's mail id."""

    def work(session):
        bound = {"address_id": binding.address_id, "map_version": 1}
        asked = add_mail(session, now, mail_from=binding.address, peer="127.20.13.13")
        row = add_recipient(session, asked, now, state=State.HANDLED, finished_at=now, last_reply=note, **bound)
        answer = add_mail(session, now, result_mail(code), direction="outbound", listener="gateway")
        sent = {"rcpt_to": binding.address, "output_code": "*CCMSG ", "request_id": row.id}
        add_recipient(session, answer, now, lane=binding.lane, sender=CENTER, **sent, **bound)
        session.add(
            Request(
                id=row.id,
                address_id=binding.address_id,
                procedure="OTA",
                handover="H1",
                input_number="N1",
                received_at=now,
                answered_at=now,
                result_mail_id=answer.id,
            )
        )
        return asked.id

    mail_id: int = store.run(work)
    return mail_id


@only_sqlite
def test_a_refused_request_shows_what_its_code_says_and_the_answer_that_was_sent(command_line, store, now, binding):
    mail_id = refused(store, binding, now, "A0004", "A0004")
    found = match(command_line, mail_id)
    (answer,) = found["results"]
    assert (answer["codes"][0]["code"], answer["deliveries"][0]["rcpt_to"]) == ("A0004-0000-0000", ADDRESS)
    assert answer["deliveries"][0]["output_code"] == "*CCMSG"
    assert found["requests"][0]["refused_by"] == ""
    english = command_line.run("explain", str(mail_id), lang="en").stdout
    assert f"\n  result mail {answer['mail_id']} 2026-11-24T01:00:00.000+00:00\n" in english
    assert "\n    A0004-0000-0000: The user password is not valid. Check the user password\n" in english
    assert f"\n    <{ADDRESS}> queued since" in english
    japanese = command_line.run("explain", str(mail_id)).stdout
    assert "A0004-0000-0000: 利用者パスワードが正しくありません。利用者パスワードを確認してください" in japanese
    # The answer names the request, and is not its own answer.
    assert [match(command_line, answer["mail_id"])[key] for key in ("results", "kind")] == [[], "mail"]


@only_sqlite
def test_what_was_refused_before_the_first_tcc_names_the_setting(command_line, store, now, binding):
    new = update(LogicalTerminal).where(LogicalTerminal.name == "60777S").values(application_id=1)
    store.run(lambda session: session.execute(new))
    mail_id = refused(store, binding, now, REFUSAL_NOTE, REFUSAL_CODE)
    assert match(command_line, mail_id)["requests"][0]["refused_by"] == "naccs.before_tcc"
    shown = command_line.run("explain", str(mail_id), lang="en").stdout
    for part in (
        "came before the first TCC",
        "refused by the setting naccs.before_tcc = refuse",
        "make the communication",
    ):
        assert part in shown
    assert "設定 naccs.before_tcc = refuse により断りました" in command_line.run("explain", "H1").stdout


@only_sqlite
@pytest.mark.parametrize("what", ["60777S", ADDRESS])
def test_what_a_new_terminal_may_not_do_yet_is_told_where_the_setting_refuses_it(
    command_line, store, now, binding, what
):
    terminal = update(LogicalTerminal).where(LogicalTerminal.name == "60777S")
    refusing = {"NACCS_GATEWAY_NACCS__BEFORE_TCC": "refuse"}
    told = "until then other procedures get A0002 (setting naccs.before_tcc = refuse)"

    def shown(**environment: str) -> str:
        return str(command_line.run("explain", what, lang="en", **environment).stdout)

    assert told not in shown(**refusing)
    store.run(lambda session: session.execute(terminal.values(application_id=1)))
    assert told not in shown()
    assert shown(**refusing).count(told) == shown(**refusing).count("its first TCC has not been made") == 1
    store.run(lambda session: session.execute(terminal.values(left_to_backend="hours tcc")))
    assert told not in shown(**refusing)


# What stays as it is in Japanese: names, tokens that another command takes, and the peer's own words.
NO_LABELS = (
    r"<[^>]*>|[*][A-Z]+|terminal:\w+|backend|smarthost:\d|\S+@\S+|（[a-z]+）|SMTP|TCC|SYG|HELO|MAIL|RCPT|FROM|TO|DATA|IP|OTA|H1|N1"
    r"|\d{3} [45]?\.?.*|A0002|euc_jp|os:\w+|naccs\.before_tcc = refuse|[A-Z]+\d+|\d{5}[A-Z]|260001A"
    r"|terminal undelivered|mail (?:resend|release)|destination resume|connect: refused|\d+T\d+:"
)


@only_sqlite
def test_in_japanese_no_label_is_english(command_line, store, now, binding):
    new = update(LogicalTerminal).where(LogicalTerminal.name == "60777S").values(application_id=1)
    store.run(lambda session: session.execute(new))
    request(store, binding, now, "H1", claimed_at=now, in_doubt=True, late_at=now, overdue_at=now)
    came = store.run(lambda session: add_mail(session, now, listener="public", direction="inbound").id)
    receive(store, now, "260001A", mail_id=came)
    mail_id = refused(store, binding, now, REFUSAL_NOTE, REFUSAL_CODE)
    for outcome in ("temporary", "permanent", "in_doubt"):
        tried(store, outbound(store, mail_id_of_answer(command_line, mail_id)).id, now, "450 4.2.0 full", outcome)
    stuck_messages.give_up(store, binding, "SAD4031", now)
    wanted = WantedDestination(place="", output_code="SAD4011", address=ADDRESS)
    store.run(lambda session: register_destinations(session, [wanted], actor="os:op", now=now))
    stuck_messages.set_lane(store, binding.lane, down_since=now, next_try_at=now, last_failure="connect: refused")
    for what in (str(mail_id), "H1", ADDRESS, "60777S", "backend", "260001A", str(came), CENTER):
        shown = command_line.run("explain", what, NACCS_GATEWAY_NACCS__BEFORE_TCC="refuse").stdout
        assert shown
        assert re.findall("[A-Za-z]{2,}", re.sub(NO_LABELS, "", shown)) == []


def mail_id_of_answer(command_line, mail_id: int) -> int:
    (answer,) = match(command_line, mail_id)["results"]
    return int(answer["mail_id"])


@only_sqlite
def test_a_name_that_means_several_things_tells_them_all(command_line, store, now, binding):
    request(store, binding, now, "60777S")
    kinds = [one["kind"] for one in command_line.json("explain", "60777S")["matches"]]
    assert kinds == ["terminal", "handover"]


@only_sqlite
def test_what_is_not_there_ends_with_status_1_and_no_name_with_2(command_line):
    for what in ("17", "x", "nobody@x.example", "<17@center.example>"):
        refused = command_line.run("explain", what, "--json", lang="en")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert what in refused.stderr
        assert ("550 5.1.1 Address unknown here" in refused.stderr) == ("@" in what)
    for wrong in ("", " ", "x" * 321):
        assert command_line.run("explain", wrong).exit_code == 2


def test_every_word_has_its_sentence_in_both_languages():
    source = re.findall(r'return "(\w+)", ahead', open_source())
    assert {*source, *State, "next", "behind", "deferred"} == set(explain_words.WHY)
    for words, tokens in (
        (explain_words.FATES, Fate),
        (explain_words.STATES, State),
        (explain_words.DIRECTIONS, Direction),
        (explain_words.OUTCOMES, FailureClass),
        (explain_words.STAGES, Stage),
    ):
        assert set(words) == set(tokens)
    tables = (explain_words.WHY, explain_words.FATES, explain_words.REQUEST_STATES, explain_words.STATES)
    assert all(all(texts) for table in tables for texts in table.values())


def open_source() -> str:
    from pathlib import Path

    from handlers import recipient_explanations

    return Path(recipient_explanations.__file__).read_text(encoding="utf-8")
