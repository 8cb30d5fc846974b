"""The main job, once through: apply by mail, be reviewed, get the IDs, exchange the first messages.

One `serve` on its defaults (ports moved, smarthost and terminal port pointed at recording servers), the sample office
imported, and a start date of today.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gateway.sandbox import sample_mails
from handlers.calendar import JST
from handlers.naccs.common_items import OUTPUT_PLACES
from storage.models import Recipient
from storage.states import Direction, State
from tests.fakes.in_house_server import ReceivedMail, RecordingServer
from tests.scenarios.mails import (
    ACCEPTED,
    body_of,
    handover_of,
    item_of,
    read,
    request,
    send_application,
    send_request,
    subject_of,
    swaks_mail,
    text_of,
)
from tests.scenarios.outside import await_mails, today_in_japan, wait_until
from tests.scenarios.site import (
    ADMINISTRATOR,
    APPLICANT,
    APPLY,
    CENTER,
    DOMAIN,
    REVIEWER,
    Site,
    Terminal,
    mail_id_of,
    site_in,
)

BOTH = {APPLICANT, ADMINISTRATOR}


@pytest.fixture(scope="module")
def site(place: tuple[Path, str | None]) -> Iterator[Site]:
    """`serve` with the sample office."""
    directory, store_url = place
    with site_in(directory, store_url) as site:
        site.process.start()
        site.import_office()
        yield site


@pytest.fixture(scope="module")
def today() -> date:
    """The day of the application and of its completion."""
    return today_in_japan()


@pytest.fixture(scope="module")
def acceptances(site: Site, today: date) -> list[ReceivedMail]:
    """What came to the smarthost after the application was mailed."""
    mail_id_of(send_application(site.process.public, swaks_mail()))
    return await_mails(site.outside.smarthost, 2, lambda mail: ACCEPTED in subject_of(mail), "the acceptance mails")


@pytest.fixture(scope="module")
def receipt(acceptances: list[ReceivedMail]) -> str:
    """The receipt number, as the applicant reads it in the mail."""
    found = re.search(r"^申込受付番号 : (\S+)$", text_of(acceptances[0]), re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def completed(site: Site, receipt: str, today: date) -> Any:
    """What `application complete` with a start date of today prints."""
    return site.complete(receipt, today)


@pytest.fixture(scope="module")
def terminal(completed: Any) -> Terminal:
    """The terminal that was issued."""
    (issued,) = completed["terminals"]
    (address,) = issued["mail_addresses"]
    return Terminal(name=issued["name"], ip=issued["ip_address"], address=address)


@pytest.fixture(scope="module")
def in_house(site: Site, terminal: Terminal) -> RecordingServer:
    """The in-house system's own SMTP server, at the terminal's IP and port."""
    return site.outside.in_house(terminal.ip)


@pytest.fixture(scope="module")
def ask(site: Site, terminal: Terminal, in_house: RecordingServer) -> Any:
    """Send a request from the terminal and wait for its result: (body sent, body that came)."""

    def send(body: bytes, **how: Any) -> bytes:
        mail_id_of(send_request(site.process.naccs, terminal, body, **how))
        return body_of(result_of(in_house, body))

    return send


def result_of(in_house: RecordingServer, body: bytes) -> ReceivedMail:
    found = await_mails(in_house, 1, lambda mail: handover_of(body_of(mail)) == handover_of(body), "results")
    assert len(found) == 1
    return found[0]


def is_now(received_at: bytes) -> bool:
    """Whether 電文受信日時 is the time in Japan, to two minutes."""
    written = datetime.strptime(received_at.decode("ascii"), "%Y%m%d%H%M").replace(tzinfo=JST)
    return abs(datetime.now(JST) - written) < timedelta(minutes=2)


def test_both_people_get_the_acceptance_mail_with_one_receipt_number(acceptances, receipt, today):
    assert {mail.rcpt_to for mail in acceptances} == BOTH
    assert len(acceptances) == 2
    assert {subject_of(mail) for mail in acceptances} == {f"【NSS】{ACCEPTED}"}
    assert receipt == f"{today:%y}0001A"
    assert all(f"申込受付番号 : {receipt}" in text_of(mail) for mail in acceptances)


def test_the_acceptance_mail_repeats_the_application(acceptances):
    for text in map(text_of, acceptances):
        assert "システム構成図.xlsx" in text
        assert "0台" in text
        assert "1台" in text
        assert max(len(line) for line in text.splitlines()) <= 76


def test_the_header_of_an_acceptance_mail_says_who_writes_and_where_answers_go(acceptances, receipt):
    for received in acceptances:
        mail = read(received)
        assert mail["From"].addresses[0].display_name == "NACCSサポートシステム"
        assert mail["From"].addresses[0].domain == DOMAIN
        assert mail["To"] == received.rcpt_to
        assert mail["Auto-Submitted"] == "auto-generated"
        assert re.fullmatch(rf"case\+{receipt.lower()}\.[a-z0-9]+@{re.escape(DOMAIN)}", mail["Reply-To"].lower())
        assert mail["Date"].datetime.utcoffset() == timedelta(hours=9)
        assert mail["Message-ID"].endswith(f"@{DOMAIN}>")
        assert mail.get_content_type() == "text/plain"
        assert mail.get_content_charset() == "utf-8"
        assert "DKIM-Signature" not in mail
        assert re.fullmatch(rf"bounce\+\d+\.[a-z0-9]+@{re.escape(DOMAIN)}", received.mail_from)


def test_each_person_has_a_reply_address_of_their_own(acceptances):
    assert len({str(read(mail)["Reply-To"]) for mail in acceptances}) == 2


def test_the_reviewer_is_asked_to_review_it(site, acceptances, receipt):
    is_asked = lambda mail: mail.rcpt_to == REVIEWER  # noqa: E731
    (asked,) = await_mails(site.outside.smarthost, 1, is_asked, "review requests")
    assert receipt in text_of(asked)


@pytest.mark.parametrize("subject", ["利用申込確認完了のお知らせ", "ID通知のお知らせ"])
def test_completing_the_review_brings_both_people_the_mails_that_follow(site, completed, receipt, subject):
    is_meant = lambda mail: subject_of(mail) == f"【NSS】{subject}"  # noqa: E731
    mails = await_mails(site.outside.smarthost, 2, is_meant, subject)
    assert sorted(mail.rcpt_to for mail in mails) == sorted(BOTH)
    assert all(read(mail)["References"] for mail in mails)
    assert all("PASSWD01" not in text_of(mail) for mail in mails)


def test_the_review_complete_mail_confirms_the_start_date(site, completed, receipt, today):
    is_meant = lambda mail: "利用申込確認完了" in subject_of(mail)  # noqa: E731
    text = text_of(await_mails(site.outside.smarthost, 1, is_meant, "review-complete mails")[0])
    assert receipt in text
    assert f"利用開始日 : {today.year}年{today.month}月{today.day}日" in text


def test_the_id_notice_names_terminal_ip_and_mail_address(site, terminal):
    is_meant = lambda mail: "ID通知" in subject_of(mail)  # noqa: E731
    text = text_of(await_mails(site.outside.smarthost, 1, is_meant, "ID notices")[0])
    assert terminal.name in text
    assert terminal.ip in text
    assert terminal.address in text


def test_completed_for_today_the_application_is_in_use_at_once(completed, receipt):
    assert (completed["receipt_number"], completed["state"]) == (receipt, "in_use")


def test_the_first_message_of_the_in_house_system_brings_the_result_of_the_sample(site, terminal, in_house):
    body = sample_mails.read("tcc-request.edi")
    mail_id_of(send_request(site.process.naccs, terminal, body, pause=3.0))
    mail = result_of(in_house, body)
    result = body_of(mail)
    assert item_of(result, "mail_address") == terminal.address.encode()
    assert item_of(result, "user_code") == b"TST01"
    assert is_now(item_of(result, "received_at"))
    expected = bytearray(sample_mails.read("result-ok.edi"))
    for item in ("mail_address", "user_code", "received_at"):
        expected[OUTPUT_PLACES[item]] = result[OUTPUT_PLACES[item]]
    assert result == expected
    assert (mail.mail_from, mail.rcpt_to) == (CENTER, terminal.address)


def test_towards_the_in_house_system_the_gateway_speaks_plain_helo(site, terminal, in_house, ask):
    ask(request())
    assert not in_house.lines("EHLO")
    assert in_house.lines("HELO")
    assert set(in_house.lines("MAIL")) == {f"MAIL FROM:<{CENTER}>"}
    assert set(in_house.lines("RCPT")) == {f"RCPT TO:<{terminal.address}>"}


def test_another_procedure_is_answered_by_the_simulator(ask):
    result = ask(request("OTA"))
    assert item_of(result, "procedure_code") == b"OTA"
    assert item_of(result, "output_information_code") == b"*SOTA"
    assert item_of(result, "subject") == b"00000-0000-0000"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ({"message_length": b"999999"}, b"A0008"),
        ({"password": b"WRONGPWD"}, b"A0004"),
        ({"user_code": b"NOONE"}, b"A0003"),
        ({"identification_number": b"999"}, b"A0005"),
        ({"system_identification": b" "}, b"A0016"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_a_request_that_fails_a_check_is_answered_by_its_code(ask, damage, code):
    result = ask(request(**damage))
    assert item_of(result, "subject") == code + b"-0000-0000"
    assert item_of(result, "output_information_code") == b"*CCMSG"


def test_another_mail_address_in_from_is_answered_a0013(ask):
    result = ask(request(), header_from="3A0002@SMTP.CT0001.CENTER.EXAMPLE")
    assert item_of(result, "subject") == b"A0013-0000-0000"


def test_results_come_in_the_order_of_their_requests(site, terminal, in_house):
    bodies = [request(procedure) for procedure in ("TCC", "OTA", "TCC", "OTA")]
    for body in bodies:
        mail_id_of(send_request(site.process.naccs, terminal, body))
    for body in bodies:
        result_of(in_house, body)
    came = [handover_of(body_of(mail)) for mail in in_house.mails]
    for kind in (bodies[0::2], bodies[1::2]):
        places = [came.index(handover_of(body)) for body in kind]
        assert places == sorted(places)


def test_the_terminal_list_has_the_keys_of_the_contract(site, terminal, today):
    listed = {row["name"]: row for row in site.process.json("terminal", "list")}
    row = listed[terminal.name]
    assert row["ip_address"] == terminal.ip
    assert row["port"] == site.outside.terminal_port
    (address,) = row["mail_addresses"]
    assert address["address"] == terminal.address
    assert address["effective_from"] == today.isoformat()
    assert address["effective_until"] is None


def test_the_application_has_the_keys_of_the_contract(site, receipt, terminal, today):
    shown = site.process.json("application", "show", receipt)
    assert shown["receipt_number"] == receipt
    assert shown["state"] in ("in_use", "checked")  # the TCC's check follows when it likes
    assert shown["start_date"] == today.isoformat()
    assert (shown["applicant_email"], shown["administrator_email"]) == (APPLICANT, ADMINISTRATOR)
    expected = {"name": terminal.name, "ip_address": terminal.ip, "mail_addresses": [terminal.address]}
    assert shown["terminals"] == [expected]
    keys = {"status_ja", "desired_start_date", "review_completed_on", "counts", "attachments", "progress"}
    assert keys <= shown.keys()


def test_the_mail_list_has_the_keys_of_the_contract(site, receipt, ask):
    ask(request())
    mails = site.process.json("mail", "list", "--limit", "1000")
    assert all(keys_of_a_mail(mail) for mail in mails)
    (application,) = [mail for mail in mails if mail["listener"] == "public"]
    assert (application["direction"], application["mail_from"]) == ("inbound", APPLICANT)
    (recipient,) = application["recipients"]
    assert (recipient["rcpt_to"], recipient["state"]) == (APPLY, "handled")
    assert {"inbound", "outbound"} == {mail["direction"] for mail in mails}


def keys_of_a_mail(mail: dict[str, Any]) -> bool:
    of_mail = {"id", "direction", "listener", "mail_from", "received_at", "recipients"}
    of_recipient = {"rcpt_to", "state", "destination", "attempts", "last_reply"}
    return of_mail <= mail.keys() and all(of_recipient <= row.keys() for row in mail["recipients"])


def test_everything_sent_out_is_delivered_and_written_down_as_that(site, ask):
    ask(request("OTA"))
    states = select(Recipient.state).where(Recipient.direction == Direction.OUTBOUND).distinct()
    wait_until(
        lambda: site.read(lambda session: session.scalars(states).all()) == [State.DELIVERED],
        "every mail that goes out to be delivered",
    )


def test_no_password_and_no_traceback_is_in_the_log(site, ask):
    ask(request())
    assert "Traceback" not in site.process.log
    assert "PASSWD01" not in site.process.log
    assert "WRONGPWD" not in site.process.log
