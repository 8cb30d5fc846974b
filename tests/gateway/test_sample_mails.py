"""The sample mails and the two clients that send them, against a peer on a real socket."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import openpyxl
import pytest
from typer.testing import CliRunner

from gateway.cli import build
from gateway.sandbox.applicant_client import ApplicantClient
from gateway.sandbox.dialogue import Exchange
from gateway.sandbox.in_house_client import KnownClient, Parcel, known_mail
from gateway.sandbox.sample_mails import (
    SampleKind,
    UnknownSample,
    applicant_address,
    application_mail,
    edi_mail,
    form,
    header_address,
    read,
    result_address,
    sample,
    samples,
    wished_start,
)
from handlers.calendar import BusinessCalendar, seed_holidays

NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
APPLICATIONS = [each for each in samples() if each.kind is SampleKind.APPLICATION]
MESSAGES = [each for each in samples() if each.file.endswith(".edi")]
ACCEPTING = {"HELO": "250 ok", "EHLO": "250 ok", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go ahead"}


@pytest.fixture(autouse=True)
def default_settings(monkeypatch, tmp_path):
    """The commands find no settings file here."""
    monkeypatch.delenv("NACCS_GATEWAY_SETTINGS", raising=False)
    monkeypatch.chdir(tmp_path)


class Peer(threading.Thread):
    """An SMTP server of a fixed answer per verb that keeps every octet; None says nothing at all."""

    def __init__(self, greeting: str | None = "220 ready", **replies: str | None) -> None:
        super().__init__(daemon=True)
        self.greeting = greeting
        self.replies = {**ACCEPTING, "QUIT": "221 bye", "DOT": "250 queued", **replies}
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.source = ""
        self.closes_at = ""
        self.received = b""
        self.content = b""
        self.dot_after = 0.0

    def run(self) -> None:
        connection, address = self.listening.accept()
        self.source = address[0]
        with connection, connection.makefile("rb") as lines:
            self._tell(connection, self.greeting)
            for line in lines:
                self.received += line
                verb = line[:4].decode("ascii").strip().upper()
                asked_at = time.monotonic()
                self._tell(connection, self.replies.get(verb, "500 what"))
                if verb == "DATA" and self.replies["DATA"] in {"354 go ahead", None}:
                    self._content(connection, lines, asked_at)
                if verb in {"QUIT", self.closes_at}:
                    break

    def _content(self, connection, lines, asked_at: float) -> None:
        self.content = b""
        for line in lines:
            self.received += line
            if line == b".\r\n":
                self.dot_after = time.monotonic() - asked_at
                break
            self.content += line
        self._tell(connection, self.replies["DOT"])

    def _tell(self, connection, reply: str | None) -> None:
        if reply is not None:
            connection.sendall(reply.encode() + b"\r\n")


@contextmanager
def peer(*arguments, **replies):
    serving = Peer(*arguments, **replies)
    serving.start()
    try:
        yield serving
    finally:
        serving.join(60)
        serving.listening.close()


def parcel(content: bytes = b"content\r\n") -> Parcel:
    return Parcel(mail_from="3A0001@SMTP.TST01.NACCS6", rcpt_to="NACCS@SMTP.PROD.NACCS6", mail=content)


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body()
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def command(*arguments: str):
    return CliRunner().invoke(build(), list(arguments))


# The samples themselves.


def test_every_sample_has_a_name_of_its_own_and_says_in_both_languages_what_to_expect():
    assert len({each.name for each in samples()}) == len(samples())
    for each in samples():
        assert each.content
        assert each.expect.ja.endswith("。")
        assert each.expect.en.endswith(".")


def test_the_right_application_stands_beside_at_least_six_wrong_ones():
    assert APPLICATIONS[0].name == "application-add-smtp-server"
    assert len(APPLICATIONS) >= 7


@pytest.mark.parametrize("chosen", APPLICATIONS[1:], ids=lambda each: each.name)
def test_each_further_application_differs_from_the_right_one(chosen):
    right = APPLICATIONS[0]
    assert (chosen.content, chosen.attachments, chosen.mail_from) != (right.content, right.attachments, None)


@pytest.mark.parametrize("chosen", MESSAGES, ids=lambda each: each.name)
def test_each_edi_message_is_as_long_as_it_says(chosen):
    assert int(chosen.content[392:398]) == len(chosen.content)
    assert chosen.content[398:400] == b"\r\n"


def test_the_system_diagram_is_a_workbook_that_opens():
    workbook = openpyxl.load_workbook(io.BytesIO(read("system-diagram.xlsx")))
    assert workbook.sheetnames == ["システム構成図"]
    assert workbook.active["B3"].value == "09143"


def test_a_name_that_no_sample_has_is_told():
    with pytest.raises(UnknownSample):
        sample("nothing-like-it")


# Dates.


@pytest.mark.parametrize("today", [date(2026, 11, 24), date(2026, 12, 17), date(2026, 12, 20), date(2027, 4, 21)])
def test_the_wished_start_is_the_first_business_day_at_least_twelve_days_ahead(today):
    calendar = BusinessCalendar(holidays=seed_holidays({2026, 2027}))
    wished = wished_start(today)

    assert (wished - today).days >= 12
    assert calendar.is_business_day(wished)
    assert not any(
        calendar.is_business_day(date.fromordinal(day)) for day in range(today.toordinal() + 12, wished.toordinal())
    )


def test_the_year_end_closure_is_no_start_date():
    assert wished_start(date(2026, 12, 17)) == date(2027, 1, 4)


def test_the_form_carries_the_wished_start_in_both_places():
    text = form(sample("application-add-smtp-server"), start=date(2026, 12, 7))
    assert "利用開始日: 20261207\n" in text
    assert "工事希望日: 20261207\n" in text
    assert "20261214" not in text


def test_as_is_leaves_the_dates_of_the_form():
    mail = application_mail(
        APPLICATIONS[0], mail_from="a@applicant.example", rcpt_to="apply@x.example", now=NOW, as_is=True
    )
    assert "利用開始日: 20261214" in text_of(message_from_bytes(mail, policy=default))


def test_the_date_that_has_passed_stays_in_the_past():
    text = form(sample("application-past-date"), start=date(2026, 12, 7))
    assert text.count("20200401") == 2
    assert "20261207" not in text


# Mails.


@pytest.mark.parametrize("chosen", APPLICATIONS, ids=lambda each: each.name)
def test_each_application_becomes_a_mail_that_reads_back(chosen):
    sender = applicant_address(chosen)
    raw = application_mail(chosen, mail_from=sender, rcpt_to="apply@nss.center.example", now=NOW)
    mail = message_from_bytes(raw, policy=default)

    assert mail["From"].addresses[0].addr_spec == sender
    assert mail["To"] == "apply@nss.center.example"
    assert mail["Date"].datetime == NOW
    assert mail["Message-ID"].endswith(f"@{sender.partition('@')[2]}>")
    assert text_of(mail) == form(chosen, start=date(2026, 12, 7))
    assert [part.get_filename() for part in mail.iter_attachments()] == [
        attachment.name for attachment in chosen.attachments
    ]
    assert re.search(rb"(?<!\r)\n|\r(?!\n)", raw) is None


def test_the_applicant_sends_from_the_registered_address_and_the_stranger_does_not():
    assert applicant_address(sample("application-email-mismatch")) == "tsukan-hanako@applicant.example"
    assert applicant_address(sample("application-unregistered-sender")) == "stranger@elsewhere.example"


def test_an_edi_message_is_mailed_byte_for_byte_as_the_known_client_does():
    mail = edi_mail(sample("tcc-request"), mail_from="3A0001@SMTP.TST01.NACCS6", rcpt_to="NACCS@SMTP.PROD.NACCS6")
    assert mail == sample("tcc-request-mail").content


def test_a_whole_mail_is_sent_untouched_whatever_the_envelope():
    chosen = sample("tcc-request-mail")
    assert edi_mail(chosen, mail_from="A@B.EXAMPLE", rcpt_to="C@D.EXAMPLE") == chosen.content
    assert header_address(chosen, "from") == "3A0001@SMTP.TST01.NACCS6"
    with pytest.raises(ValueError, match="no Subject line"):
        header_address(chosen, "Subject")


def test_a_result_is_for_the_address_in_its_common_items():
    assert result_address(sample("result-ok")) == "3A0001@SMTP.TST01.NACCS6"


# The known in-house client.


def known_client(center: Peer, **options: Any) -> KnownClient:
    """The client of that peer, which has a minute for each reply unless told otherwise."""
    return KnownClient("127.0.0.1", center.port, **{"pause": 0, "patience": 60, **options})


def test_the_known_client_speaks_as_the_real_one_does():
    mail = known_mail(b"   TCC...\r\n", mail_from="3A0001@SMTP.TST01.NACCS6", rcpt_to="NACCS@SMTP.PROD.NACCS6")
    with peer() as center:
        dialogue = known_client(center, pause=0.3).send(parcel(mail))

    assert center.received == (
        b"HELO 60777S\r\n"
        b"MAIL FROM:3A0001@SMTP.TST01.NACCS6\r\n"
        b"RCPT TO:<NACCS@SMTP.PROD.NACCS6>\r\n"
        b"DATA\r\n"
        b"From:3A0001@SMTP.TST01.NACCS6\r\n"
        b"To:NACCS@SMTP.PROD.NACCS6\r\n"
        b"Mime-Version:1.0\r\n"
        b'Content-Type:Text/xml;charset="EUC-JP"\r\n'
        b"Content-Transfer-Encoding:8bit\r\n"
        b"\r\n"
        b"   TCC...\r\n"
        b"\r\n"
        b".\r\n"
        b"QUIT\r\n"
    )
    assert center.dot_after >= 0.25
    assert dialogue.accepted
    assert dialogue.reply_to("RCPT") == "250 ok"
    assert dialogue.reply_to("STARTTLS") == ""


def test_the_known_client_binds_the_terminals_ip():
    with peer() as center:
        known_client(center, bind="127.20.13.13").send(parcel())
    assert center.source == "127.20.13.13"


def test_the_known_client_sends_several_mails_over_one_connection():
    with peer() as center:
        dialogue = known_client(center).send(parcel(b"one\r\n"), parcel(b"two\r\n"))
    assert center.received.count(b"HELO") == 1
    assert center.received.count(b"\r\n.\r\n") == 2
    assert dialogue.accepted


@pytest.mark.parametrize("verb", ["HELO", "MAIL", "RCPT", "DATA"])
def test_the_known_client_gives_up_at_the_first_refusal(verb):
    with peer(**{verb: "550 no"}) as center:
        dialogue = known_client(center).send(parcel())
    assert dialogue.exchanges[-1].said.startswith(verb)
    assert not dialogue.accepted
    assert b"QUIT" not in center.received


def test_the_known_client_gives_up_without_a_greeting():
    with peer(None) as center:
        dialogue = known_client(center, patience=0.2).send(parcel())
    assert [exchange.reply for exchange in dialogue.exchanges] == [""]
    assert center.received == b""


def test_silence_after_data_is_tolerated_and_the_reply_to_the_dot_is_not_judged(monkeypatch):
    connections: list[socket.socket] = []
    connect = socket.create_connection

    def connected(*arguments, **options):
        connections.append(connect(*arguments, **options))
        return connections[-1]

    def heard(exchange: Exchange) -> None:
        """Be impatient for the one reply that does not come, and for no other."""
        connections[0].settimeout(0.2 if exchange.said.startswith("RCPT") else 60)

    monkeypatch.setattr(socket, "create_connection", connected)
    with peer(DATA=None, DOT="550 no") as center:
        dialogue = known_client(center, listener=heard).send(parcel())
    assert b"\r\n.\r\nQUIT\r\n" in center.received
    assert not dialogue.accepted


def test_a_connection_that_ends_is_an_empty_reply():
    with peer(MAIL=None) as center:
        center.closes_at = "MAIL"
        dialogue = known_client(center).send(parcel())
    assert dialogue.exchanges[-1] == Exchange(said="MAIL FROM:3A0001@SMTP.TST01.NACCS6", reply="")


# The applicant's client.


def test_the_applicant_client_delivers_and_keeps_every_reply():
    heard: list[Exchange] = []
    with peer() as desk:
        dialogue = ApplicantClient("127.0.0.1", desk.port, bind="127.0.0.1", listener=heard.append).send(
            b"Subject: x\r\n\r\nbody\r\n", mail_from="a@applicant.example", rcpt_to="apply@x.example"
        )
    assert dialogue.accepted
    assert desk.content == b"Subject: x\r\n\r\nbody\r\n"
    assert [exchange.said for exchange in heard] == [
        "",
        "EHLO",
        "MAIL FROM:<a@applicant.example>",
        "RCPT TO:<apply@x.example>",
        ".",
    ]


def test_the_applicant_client_stops_at_the_first_refusal():
    with peer(RCPT="550 5.1.1 nobody") as desk:
        dialogue = ApplicantClient("127.0.0.1", desk.port).send(
            b"x\r\n", mail_from="a@b.example", rcpt_to="c@d.example"
        )
    assert dialogue.reply_to("RCPT") == "550 5.1.1 nobody"
    assert not dialogue.accepted
    assert b"DATA" not in desk.received.upper()


# The commands.


def test_sample_list_names_all_and_says_what_to_expect_in_the_language_asked_for():
    japanese = command("--lang", "ja", "sample", "list")
    english = command("--lang", "en", "sample", "list")

    assert japanese.exit_code == english.exit_code == 0
    for each in samples():
        assert each.name in japanese.output
        assert each.expect.ja in japanese.output
        assert each.expect.en in english.output


def test_sample_list_as_json_has_name_kind_and_expectation():
    rows = json.loads(command("sample", "list", "--json").stdout)
    assert [row["name"] for row in rows] == [each.name for each in samples()]
    assert set(rows[0]) == {"name", "kind", "expect"}


def test_sample_show_writes_the_bytes_of_an_edi_message_and_nothing_else():
    shown = command("sample", "show", "result-ok")
    assert shown.stdout_bytes == sample("result-ok").content
    assert "result-ok" in shown.stderr


def test_sample_show_moves_the_dates_of_a_form_unless_told_not_to():
    moved = command("sample", "show", "application-add-smtp-server").stdout
    as_is = command("sample", "show", "application-add-smtp-server", "--as-is", "--json").stdout

    assert "20261214" in json.loads(as_is)["content"]
    assert re.search(r"利用開始日: \d{8}\n", moved)


def test_sample_show_of_an_unknown_name_is_not_found():
    refused = command("--lang", "ja", "sample", "show", "nothing-like-it")
    assert refused.exit_code == 1
    assert "nothing-like-it" in refused.stderr


def test_sample_send_mails_an_application_to_the_desk_and_prints_each_reply():
    with peer() as desk:
        sent = command("sample", "send", "application-add-smtp-server", "--to", f"127.0.0.1:{desk.port}")

    assert sent.exit_code == 0
    assert "C: MAIL FROM:<tsukan-hanako@applicant.example>\nS: 250 ok\n" in sent.stdout
    assert "C: RCPT TO:<apply@nss.center.example>\nS: 250 ok\n" in sent.stdout
    assert "C: .\nS: 250 queued\n" in sent.stdout
    attachment = next(message_from_bytes(desk.content, policy=default).iter_attachments())
    assert attachment.get_filename() == "システム構成図.xlsx"
    assert attachment.get_content() == read("system-diagram.xlsx")


def test_sample_send_fills_from_and_mail_from_in_upper_case_and_leaves_the_body():
    with peer() as center:
        sent = command(
            *("sample", "send", "tcc-request", "--to", f"127.0.0.1:{center.port}", "--pause", "0"),
            *("--from", "3a0007@smtp.ct0001.center.example", "--bind", "127.20.13.13", "--json"),
        )

    told = json.loads(sent.stdout)
    assert told["accepted"] is True
    assert told["mail_from"] == "3A0007@SMTP.CT0001.CENTER.EXAMPLE"
    assert told["rcpt_to"] == "NACCS@SMTP.CENTER.EXAMPLE"
    assert told["dialogue"][-1] == {"said": "QUIT", "reply": "221 bye"}
    assert center.source == "127.20.13.13"
    assert center.content.startswith(b"From:3A0007@SMTP.CT0001.CENTER.EXAMPLE\r\nTo:NACCS@SMTP.CENTER.EXAMPLE\r\n")
    assert center.content.partition(b"\r\n\r\n")[2] == sample("tcc-request").content + b"\r\n"


@pytest.mark.parametrize(
    ("name", "sender", "recipient"),
    [
        ("tcc-request", "3A0001@SMTP.CT0001.CENTER.EXAMPLE", "NACCS@SMTP.CENTER.EXAMPLE"),
        ("result-ok", "BACKEND@SMTP.CENTER.EXAMPLE", "3A0001@SMTP.TST01.NACCS6"),
        ("tcc-request-mail", "3A0001@SMTP.TST01.NACCS6", "NACCS@SMTP.PROD.NACCS6"),
    ],
)
def test_sample_send_uses_the_envelope_of_the_real_sender(name, sender, recipient):
    with peer() as center:
        command("sample", "send", name, "--to", f"127.0.0.1:{center.port}", "--pause", "0")
    assert f"MAIL FROM:{sender}\r\nRCPT TO:<{recipient}>\r\n".encode() in center.received


def test_sample_send_that_is_refused_ends_with_status_1():
    with peer(RCPT="550 5.1.1 nobody") as center:
        refused = command(
            *("sample", "send", "result-ok", "--to", f"127.0.0.1:{center.port}"),
            *("--rcpt", "X@Y.EXAMPLE", "--pause", "0"),
        )
    assert refused.exit_code == 1
    assert "C: RCPT TO:<X@Y.EXAMPLE>\nS: 550 5.1.1 nobody\n" in refused.stdout


def test_sample_send_to_a_closed_port_is_refused_with_one_line():
    with socket.create_server(("127.20.15.15", 0)) as taken:  # where nobody else is given a port
        port = taken.getsockname()[1]
    refused = command("sample", "send", "result-ok", "--to", f"127.20.15.15:{port}")
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("to", ["127.0.0.1", ":25", "host:0", "host:smtp", "host:65536"])
def test_sample_send_without_host_and_port_is_wrong_usage(to):
    assert command("sample", "send", "result-ok", "--to", to).exit_code == 2
