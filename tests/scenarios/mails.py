"""The mails that come in, byte for byte as their senders make them, and what is read in those that go out."""

from __future__ import annotations

import base64
import json
import re
import smtplib
from collections.abc import Callable
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime
from itertools import count
from typing import Any

from gateway.sandbox import sample_mails
from gateway.sandbox.dialogue import FINAL_DOT, Exchange
from gateway.sandbox.in_house_client import KnownClient, Parcel, known_mail
from handlers.calendar import JST, jst_date
from handlers.naccs.common_items import INPUT_PLACES, OUTPUT_PLACES
from tests.fakes.in_house_server import ReceivedMail
from tests.scenarios.conversation import PATIENCE
from tests.scenarios.gateway_process import Address
from tests.scenarios.site import APPLICANT, APPLY, CENTER, Terminal

WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ACCEPTED = "利用申込受付完了のお知らせ"

_numbers = count(1)


def swaks_mail(name: str = "application-add-smtp-server", *, declared: bool = True) -> bytes:
    """An application as swaks mails it: the form as the body, the sample's workbook attached, raw UTF-8 headers.

    `declared`: as `--attach-type 'text/plain; charset=utf-8' --attach-body @form` makes it; else as `--body @form`
    does, 8-bit and of no charset. Its dates are relative to today, its Message-ID is new.
    """
    now = datetime.now(JST)
    chosen = sample_mails.sample(name)
    form = sample_mails.form(chosen, start=sample_mails.wished_start(jst_date(now))).replace("\n", "\r\n")
    boundary = f"----=_MIME_BOUNDARY_000_{next(_numbers)}"
    parts = [_body_part(form, declared=declared), *map(_attachment_part, chosen.attachments)]
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    header = (
        f"Date: {format_datetime(now)}\r\n"
        f"To: {APPLY}\r\n"
        f"From: {APPLICANT}\r\n"
        "Subject: 利用申込\r\n"
        f"Message-Id: <{now:%Y%m%d%H%M%S}.{next(_numbers):06d}@client.applicant.example>\r\n"
        "X-Mailer: swaks v20201014.0 jetmore.org/john/code/swaks/\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n'
    )
    return f"{header}{body}--{boundary}--\r\n\r\n".encode()


def _body_part(form: str, *, declared: bool) -> str:
    if not declared:
        return f"Content-Type: text/plain\r\n\r\n{form}"
    return "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: BASE64\r\n\r\n" + _base64(
        form.encode()
    )


def _attachment_part(file: sample_mails.Attachment) -> str:
    return (
        f'Content-Type: {WORKBOOK}; name="{file.name}"\r\n'
        f"Content-Description: {file.name}\r\n"
        f'Content-Disposition: attachment; filename="{file.name}"\r\n'
        "Content-Transfer-Encoding: BASE64\r\n\r\n" + _base64(sample_mails.read(file.file))
    )


def _base64(data: bytes) -> str:
    return base64.encodebytes(data).decode("ascii").replace("\n", "\r\n")


def nothing() -> None:
    """What is mostly done between the reply to the dot and QUIT."""


def send_application(
    address: Address, mail: bytes, *, sender: str = APPLICANT, at_reply: Callable[[], None] = nothing
) -> str:
    """Send a mail to the apply address with smtplib; the reply at the dot. `at_reply` is called when it came.

    Any other reply than 250 before the dot is an SMTPResponseException, as smtplib's own.
    """
    with smtplib.SMTP(*address, timeout=PATIENCE) as client:
        client.ehlo("client.applicant.example")
        for say in (lambda: client.mail(sender), lambda: client.rcpt(APPLY)):
            code, text = say()
            if code != 250:
                raise smtplib.SMTPResponseException(code, text)
        code, text = client.data(mail)
        at_reply()
        return f"{code} {text.decode('ascii')}"


def request(procedure: str = "TCC", **items: bytes) -> bytes:
    """The body of the sample TCC request, of another procedure or with other common items.

    Every one has its own handover (電文引継情報), so that its result can be told.
    """
    values = {
        "procedure_code": procedure.encode(),
        "handover": f"{procedure}{next(_numbers):014d}".encode(),
        "input_information_number": procedure.encode(),
    } | items
    body = bytearray(sample_mails.read("tcc-request.edi"))
    for name, value in values.items():
        place = INPUT_PLACES[name]
        body[place] = value.ljust(place.stop - place.start)
    return bytes(body)


def handover_of(body: bytes) -> bytes:
    """What the request and its result have in common."""
    return body[INPUT_PLACES["handover"]]


def item_of(result: bytes, name: str) -> bytes:
    """One output common item of a result (出力共通項目), its filling taken off."""
    return result[OUTPUT_PLACES[name]].rstrip(b" ")


def send_request(
    address: Address,
    terminal: Terminal,
    body: bytes,
    *,
    pause: float = 0.0,
    header_from: str | None = None,
    at_reply: Callable[[], None] = nothing,
) -> str:
    """Send an EDI message as the known in-house client does, from the terminal's IP; the reply at the dot."""

    def listener(exchange: Exchange) -> None:
        if exchange.said == FINAL_DOT:
            at_reply()

    client = KnownClient(
        *address, bind=terminal.ip, helo=terminal.name, pause=pause, patience=PATIENCE, listener=listener
    )
    mail = known_mail(body, mail_from=header_from or terminal.address, rcpt_to=CENTER)
    dialogue = client.send(Parcel(mail_from=terminal.address, rcpt_to=CENTER, mail=mail))
    return dialogue.reply_to(FINAL_DOT) or dialogue.exchanges[-1].reply


def body_of(mail: ReceivedMail) -> bytes:
    """The EDI message of a mail that came to an in-house system."""
    return mail.content.partition(b"\r\n\r\n")[2]


def read(mail: ReceivedMail) -> EmailMessage:
    """A notice as the mail program of its addressee sees it."""
    return message_from_bytes(mail.content, policy=default)


def subject_of(mail: ReceivedMail) -> str:
    return str(read(mail)["Subject"])


def text_of(mail: ReceivedMail) -> str:
    part = read(mail).get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def receipt_in(mail: ReceivedMail) -> str:
    """The receipt number (申込受付番号) a notice names."""
    found = re.search(r"\b\d{6,}A\b", text_of(mail))
    assert found
    return found[0]


def mail_id_in(mail: ReceivedMail) -> int:
    """The id the store knows the mail by: a mail of ours has it in its Message-ID."""
    return int(str(read(mail)["Message-ID"]).strip("<>").partition("@")[0])


def faults_in(mail: ReceivedMail) -> list[dict[str, Any]]:
    """The wrong fields in the machine-readable part of an application-invalid notice."""
    for part in read(mail).iter_attachments():
        if part.get_content_type() == "application/json":
            found: list[dict[str, Any]] = json.loads(part.get_content())["errors"]
            return found
    raise AssertionError("the mail has no part for machines")
