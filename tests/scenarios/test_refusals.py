"""What bad input gets, over real sockets: a refusal where the sender looks, or an answer; and nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway.sandbox import sample_mails
from storage.models import Application, Mail, Recipient
from storage.states import State
from tests.fakes.in_house_server import ReceivedMail, RecordingServer
from tests.scenarios.conversation import Conversation
from tests.scenarios.gateway_process import GatewayProcess
from tests.scenarios.mails import (
    ACCEPTED,
    body_of,
    faults_in,
    item_of,
    receipt_in,
    request,
    send_application,
    send_request,
    subject_of,
    swaks_mail,
    text_of,
)
from tests.scenarios.outside import await_mails, mails_that, wait_until
from tests.scenarios.site import (
    APPLICANT,
    APPLY,
    CENTER,
    DOMAIN,
    FIRST,
    OPERATOR,
    REVIEWER,
    SECOND,
    Site,
    Terminal,
    mail_id_of,
    site_in,
)

MAILS = Path(__file__).parents[1] / "mails"
BACKEND = "BACKEND@SMTP.CENTER.EXAMPLE"
NOBODY = "3A9999@SMTP.CT0001.CENTER.EXAMPLE"
HOST = "127.0.0.1"
STRANGER = "127.20.13.199"
EARLY = Terminal(name="", ip="its IP", address="its address")  # stands for the terminal that is not in use yet

INVALID = "利用申込の記入誤りのお知らせ"
UNKNOWN = "550 5.1.1"
NOT_PERMITTED = "550 5.7.1"
BARE = "550 5.5.2"
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def site(place: tuple[Path, str | None]) -> Iterator[Site]:
    """`serve` with an office that has two terminals with SMTP servers."""
    directory, store_url = place
    with site_in(directory, store_url) as site:
        site.process.start()
        site.import_office(FIRST, SECOND)
        yield site


@pytest.fixture(scope="module")
def early(site: Site) -> Terminal:
    """A third terminal, issued by an application whose start date lies ahead."""
    mail_id_of(send_application(site.process.public, swaks_mail()))
    asked = await_mails(site.outside.smarthost, 1, lambda mail: mail.rcpt_to == REVIEWER, "review requests")
    (issued,) = site.complete(receipt_in(asked[-1]))["terminals"]
    return Terminal(name=issued["name"], ip=issued["ip_address"], address=issued["mail_addresses"][0])


@pytest.fixture(scope="module")
def in_house(site: Site) -> RecordingServer:
    """The SMTP server of the first terminal."""
    return site.outside.in_house(FIRST.ip)


def state_of(site: Site, mail_id: int) -> State | None:
    """The state of a mail's one inbound recipient."""
    query = select(Recipient.state).where(Recipient.mail_id == mail_id, Recipient.direction == "inbound")
    return site.read(lambda session: State(session.scalars(query).one()))


def stored_mails(site: Site) -> int:
    inbound = select(func.count()).select_from(Mail).where(Mail.direction == "inbound")
    return site.read(lambda session: session.scalars(inbound).one())


# --- who may send what to whom: the peer, the sender, the recipient, where it ends, how ---------------------------

PAIRS: dict[str, tuple[str, str, str, str, str]] = {
    "a sender nobody has": (FIRST.ip, NOBODY, CENTER, "MAIL", UNKNOWN),
    "an applicant as the sender": (FIRST.ip, APPLICANT, CENTER, "MAIL", UNKNOWN),
    "an address of the desk as the sender": (FIRST.ip, APPLY, CENTER, "MAIL", UNKNOWN),
    "another terminal's address": (FIRST.ip, SECOND.address, CENTER, "MAIL", NOT_PERMITTED),
    "a terminal's address from an IP of its line": (STRANGER, FIRST.address, CENTER, "MAIL", NOT_PERMITTED),
    "a terminal's address from the host itself": (HOST, FIRST.address, CENTER, "MAIL", NOT_PERMITTED),
    "a terminal before its start date": (EARLY.ip, EARLY.address, CENTER, "MAIL", NOT_PERMITTED),
    "the backend's address from a terminal": (FIRST.ip, BACKEND, SECOND.address, "MAIL", NOT_PERMITTED),
    "a recipient nobody has": (FIRST.ip, FIRST.address, NOBODY, "RCPT", UNKNOWN),
    "a recipient out in the world": (FIRST.ip, FIRST.address, APPLICANT, "RCPT", UNKNOWN),
    "the desk on the NACCS listener": (FIRST.ip, FIRST.address, APPLY, "RCPT", UNKNOWN),
    "another terminal's address as the recipient": (FIRST.ip, FIRST.address, SECOND.address, "RCPT", NOT_PERMITTED),
    "its own address as the recipient": (FIRST.ip, FIRST.address, FIRST.address, "RCPT", NOT_PERMITTED),
    "an address before its start date": (FIRST.ip, FIRST.address, EARLY.address, "RCPT", NOT_PERMITTED),
    "a terminal by its name": (FIRST.ip, FIRST.address, "60778S@terminals.center.example", "RCPT", NOT_PERMITTED),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_on_the_naccs_listener_a_pair_that_is_not_listed_is_refused(site, early, pair):
    known = {EARLY.ip: early.ip, EARLY.address: early.address}
    peer, sender, recipient, where, refusal = (known.get(value, value) for value in PAIRS[pair])
    with Conversation(site.process.naccs, bind=peer) as client:
        reply = client.say("HELO 60777S", f"MAIL FROM:{sender}")
        if where == "RCPT":
            assert reply.startswith("250 ")
            reply = client.say(f"RCPT TO:<{recipient}>")
        assert reply.startswith(refusal)
        assert client.say("DATA").startswith("503 ")
        # The refusal is of the pair, not of the connection.
        assert client.say("RSET").startswith("250 ")


def test_a_terminal_may_name_the_center_only_once(site):
    with Conversation(site.process.naccs, bind=FIRST.ip) as client:
        assert client.say("HELO 60777S", f"MAIL FROM:{FIRST.address}", f"RCPT TO:<{CENTER}>").startswith("250 ")
        assert client.say(f"RCPT TO:<{CENTER}>").startswith(NOT_PERMITTED)


@pytest.mark.parametrize(
    "recipient",
    [
        f"nobody@{DOMAIN}",
        "apply@other.example",
        f"apply@sub.{DOMAIN}",
        OPERATOR,
        APPLICANT,
        CENTER,
        FIRST.address,
        "60777S@terminals.center.example",
        BACKEND,
    ],
)
@pytest.mark.parametrize("peer", [HOST, FIRST.ip])
def test_on_the_public_listener_every_address_but_the_desks_is_unknown(site, recipient, peer):
    with Conversation(site.process.public, bind=peer) as client:
        assert client.say("EHLO client.example", f"MAIL FROM:<{APPLICANT}>").startswith("250 ")
        assert client.say(f"RCPT TO:<{recipient}>").startswith(UNKNOWN)
        assert client.say("DATA").startswith("503 ")


def test_an_unknown_recipient_beside_a_known_one_does_not_cost_the_known_one_its_mail(site):
    before = stored_mails(site)
    with Conversation(site.process.public) as client:
        client.say("EHLO client.example", "MAIL FROM:<someone@elsewhere.example>")
        assert client.say(f"RCPT TO:<nobody@{DOMAIN}>").startswith(UNKNOWN)
        assert client.say(f"RCPT TO:<postmaster@{DOMAIN}>").startswith("250 ")
        assert client.say("DATA").startswith("354 ")
        mail_id = mail_id_of(client.content(b"From: someone@elsewhere.example\r\nSubject: hello\r\n\r\nhello"))
    assert stored_mails(site) == before + 1
    wait_until(lambda: state_of(site, mail_id) is State.PARKED, "the mail to the postmaster to be parked")


def test_from_the_backend_a_recipient_the_map_does_not_know_is_parked_and_the_operator_told(site):
    with Conversation(site.process.naccs) as client:
        assert client.say("HELO backend", f"MAIL FROM:<{BACKEND}>", f"RCPT TO:<{NOBODY}>").startswith("250 ")
        client.say("DATA")
        mail_id = mail_id_of(client.content(b"From: x@y.example\r\n\r\n" + sample_mails.read("result-ok.edi")))
    wait_until(lambda: state_of(site, mail_id) is State.PARKED, "the result for nobody to be parked")
    is_told = lambda mail: mail.rcpt_to == OPERATOR and str(mail_id) in text_of(mail)  # noqa: E731
    await_mails(site.outside.smarthost, 1, is_told, "mails to the operator")


# --- the content, on the public listener ------------------------------------------------------------------------


@pytest.fixture
def at_content(site: Site) -> Iterator[Conversation]:
    """A client of the public listener that was answered 354."""
    with Conversation(site.process.public) as client:
        client.say("EHLO client.example", f"MAIL FROM:<{APPLICANT}>", f"RCPT TO:<{APPLY}>")
        assert client.say("DATA").startswith("354 ")
        yield client


def test_a_mail_larger_than_the_public_listener_takes_is_refused_at_the_dot(site, at_content):
    before = stored_mails(site)
    line = b"x" * 998 + b"\r\n"
    assert at_content.content(b"From: x@y.example\r\n\r\n" + line * (20 * MEBIBYTE // 1000 + 1)).startswith("552 5.3.4")
    assert at_content.say("NOOP").startswith("250 ")
    assert stored_mails(site) == before


def test_a_mail_that_declares_to_be_too_large_is_refused_at_mail(site):
    with Conversation(site.process.public) as client:
        client.say("EHLO client.example")
        assert client.say(f"MAIL FROM:<{APPLICANT}> SIZE={20 * MEBIBYTE + 1}").startswith("552 5.3.4")


@pytest.mark.parametrize(
    "bare",
    [
        b"a\nb",
        b"a\rb",
        b"a\0b",
        b"a\r\r\nb",
        b"\n.\nMAIL FROM:<x@y.example>",
        b"\n.\r\nMAIL FROM:<x@y.example>",
        b"\r.\r",
    ],
    ids=repr,
)
def test_a_bare_line_end_or_nul_is_refused_on_the_public_listener_and_smuggles_nothing(site, at_content, bare):
    before = stored_mails(site)
    assert at_content.content(b"From: x@y.example\r\n\r\n" + bare + b"\r\nmore").startswith(BARE)
    assert at_content.is_over()
    assert stored_mails(site) == before


# --- the content, on the NACCS listener: the client does not read the reply to the dot ------------------------------


def answer_to(site: Site, in_house: RecordingServer, body: bytes) -> bytes:
    """The result notification that answers a body sent from the first terminal."""
    before = len(in_house.mails)
    mail_id_of(send_request(site.process.naccs, FIRST, body))
    wait_until(lambda: len(in_house.mails) > before, "a result")
    return body_of(in_house.mails[before])


def put(offset: int, text: bytes) -> bytes:
    body = request()
    return body[:offset] + text + body[offset + len(text) :]


DAMAGE: dict[str, tuple[bytes, bytes]] = {
    "a bare LF": (put(410, b"\n"), b"A0009"),
    "a bare CR": (put(410, b"\r"), b"A0009"),
    "a NUL": (put(410, b"\0"), b"A0009"),
    "a dot between bare line ends": (put(410, b"\n.\n"), b"A0009"),
    "a dot after a bare LF": (put(410, b"\n.\r\n"), b"A0009"),
    "a control character in the handover": (put(225, b"\x01"), b"A0009"),
    "no line end after the common items": (put(398, b"  "), b"A0016"),
    "an empty body": (b"", b"A0008"),
    "a body that ends in the password": (request()[:40], b"A0008"),
    "a byte lost at the end": (request()[:506], b"A0008"),
    "more than the longest message": (request() + b"X" * 700_000, b"A0008"),
    "nearly two mebibytes": (request() + b"X" * (2 * MEBIBYTE - 2000), b"A0008"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_message_is_taken_and_answered_by_its_code(site, in_house, damage):
    body, code = DAMAGE[damage]
    result = answer_to(site, in_house, body)
    assert item_of(result, "subject") == code + b"-0000-0000"
    assert item_of(result, "mail_address") == FIRST.address.encode()
    assert int(item_of(result, "message_length")) == len(result) == 477


def test_damage_is_never_passed_on_to_the_backend(site, in_house):
    answer_to(site, in_house, request("OTA")[:410] + b"\n" + request("OTA")[411:])
    handed_over = select(func.count()).select_from(Recipient).where(Recipient.lane == "backend")
    assert site.read(lambda session: session.scalars(handed_over).one()) == 0


def test_a_message_beyond_two_mebibytes_is_refused_and_the_connection_closed(site):
    with Conversation(site.process.naccs, bind=FIRST.ip) as client:
        client.say("HELO 60777S", f"MAIL FROM:{FIRST.address}", f"RCPT TO:<{CENTER}>", "DATA")
        assert client.content(request() + b"X" * (2 * MEBIBYTE + 1000)).startswith("552 5.3.4")
        assert client.is_over()


# --- applications -------------------------------------------------------------------------------------------------


def answered(site: Site, mail: bytes) -> ReceivedMail:
    """The one mail that answers an application that is not accepted; its mail is written down as refused."""
    smarthost = site.outside.smarthost
    before = len(smarthost.mails)
    mail_id = mail_id_of(send_application(site.process.public, mail))
    wait_until(lambda: state_of(site, mail_id) is State.REFUSED, "the application to be refused")
    wait_until(lambda: [mail for mail in smarthost.mails[before:] if mail.rcpt_to != OPERATOR], "the error mail")
    new = [mail for mail in smarthost.mails[before:] if mail.rcpt_to != OPERATOR]  # who is told when it suits
    assert [each.rcpt_to for each in new] == [APPLICANT]
    return new[0]


def accepted_so_far(site: Site) -> int:
    return site.read(lambda session: session.scalars(select(func.count()).select_from(Application)).one())


@pytest.fixture
def quiet(site: Site, early: Terminal) -> Site:
    """The site when none of the mails that earlier steps bring is still to come."""
    waiting = select(func.count()).select_from(Recipient).where(Recipient.state.in_([State.QUEUED, State.RECEIVED]))
    wait_until(lambda: site.read(lambda session: session.scalars(waiting).one()) == 0, "everything to be delivered")
    return site


def test_a_malformed_application_gets_one_error_mail_that_names_every_wrong_field(quiet):
    before = accepted_so_far(quiet)
    mail = answered(quiet, swaks_mail("application-several-faults"))
    faults = faults_in(mail)
    assert {fault["label"] for fault in faults} == {
        "氏名（名）",
        "電話番号",
        "利用開始日",
        "SMTPサーバ台数（SMTP双方向）",
        "添付ファイル名",
    }
    text = text_of(mail)
    assert INVALID in subject_of(mail)
    assert all(text.count(fault["label"]) >= 2 for fault in faults)  # in Japanese and in English
    assert "Hanako" in text
    assert "2台" in text
    assert mail.mail_from == ""
    assert accepted_so_far(quiet) == before


@pytest.mark.parametrize("name", ["unreadable-charset", "broken-base64-text", "no-boundary", "attachment-only"])
def test_a_mail_that_cannot_be_read_gets_the_same_mail(quiet, name):
    raw = re.sub(rb"\r?\n", b"\r\n", (MAILS / f"{name}.eml").read_bytes())
    mail = answered(quiet, raw)
    assert INVALID in subject_of(mail)
    assert faults_in(mail)


def test_after_all_this_a_right_application_is_accepted(quiet):
    before = accepted_so_far(quiet)
    smarthost = quiet.outside.smarthost
    earlier = len(mails_that(smarthost, lambda mail: ACCEPTED in subject_of(mail)))
    mail_id_of(send_application(quiet.process.public, swaks_mail(declared=False)))
    await_mails(smarthost, earlier + 2, lambda mail: ACCEPTED in subject_of(mail), "acceptance mails")
    assert accepted_so_far(quiet) == before + 1
    assert "Traceback" not in quiet.process.log


# --- the start ----------------------------------------------------------------------------------------------------


def refused_start(directory: Path, **sections: Any) -> str:
    """What `serve` says when it does not start."""
    done = GatewayProcess(directory, sections).command("serve")
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def test_an_unknown_setting_refuses_the_start_naming_the_key(tmp_path):
    said = refused_start(tmp_path, naccs={"prot": 8026})
    assert "naccs.prot: unknown key" in said
    assert not (tmp_path / "var").exists()


def test_a_second_serve_is_refused_on_one_sqlite_file_and_welcome_on_postgresql(site):
    first = site.process
    key = {"key_file": str(first.directory / "var" / "secret.key")}
    sections = {**first.sections, "store": {"url": site.store_url}, "secrets": key}
    (first.directory / "second").mkdir(mode=0o700)
    if site.on_sqlite:
        assert "another serve holds gateway.db" in refused_start(first.directory / "second", **sections)
    else:
        sections["store"] = first.sections["store"]
        second = GatewayProcess(first.directory / "second", sections)
        try:
            second.start()
            assert second.terminate()[0] == 0
        finally:
            second.close()
    assert first.running
    with Conversation(first.naccs, bind=FIRST.ip) as client:
        assert client.say("HELO 60777S", f"MAIL FROM:{FIRST.address}").startswith("250 ")
