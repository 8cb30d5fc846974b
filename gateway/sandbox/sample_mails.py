"""The sample mails that come with the gateway, and how each becomes a mail that can be sent today.

`samples/index.toml` lists them with what to expect: an application form, right and wrong, and NACCS EDI
messages. Nothing here reads a clock or opens a socket.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from gateway.sandbox.in_house_client import known_mail
from handlers.calendar import JST, BusinessCalendar, form_date, jst_date, seed_holidays
from handlers.naccs.common_items import OUTPUT_PLACES

# The date the form is written with, and how many days ahead the date in its place lies at least.
WRITTEN_DATE = "20261214"
DAYS_AHEAD = 12

APPLICANT_NAME = "通関 花子"
SUBJECT = "利用申込"
REGISTERED_ADDRESS = re.compile(r"^E-mailアドレス（登録用）: *(\S+)$", re.MULTILINE)
WORKBOOK_TYPE = ("application", "vnd.openxmlformats-officedocument.spreadsheetml.sheet")

# The first address that the default pattern gives to the sample contract.
FIRST_ISSUED_ADDRESS = "3A0001@SMTP.CT0001.CENTER.EXAMPLE"


class UnknownSample(LookupError):
    """No sample has that name."""


class SampleKind(StrEnum):
    APPLICATION = "application"  # a form, mailed to the application desk
    REQUEST = "request"  # an EDI message from an in-house system to the center
    RESULT = "result"  # an EDI message from the backend to a terminal
    MAIL = "mail"  # a whole mail, sent byte for byte


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a gateway with the sample contract does with the mail, one sentence in each language."""

    ja: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    file: str
    name: str  # as the mail calls it


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """A change to the form; `old` stands in it exactly once."""

    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of the index."""

    name: str
    kind: SampleKind
    file: str
    expect: Expectation
    attachments: tuple[Attachment, ...] = ()
    replace: tuple[Replacement, ...] = ()
    mail_from: str | None = None

    @property
    def content(self) -> bytes:
        """The file as it is kept, with this sample's replacements."""
        content = read(self.file)
        for replacement in self.replace:
            old = replacement.old.encode()
            if content.count(old) != 1:
                raise ValueError(f"sample {self.name}: {replacement.old!r} does not stand once in {self.file}")
            content = content.replace(old, replacement.new.encode())
        return content


@cache
def samples() -> tuple[Sample, ...]:
    """All samples in the order of the index."""
    index = tomllib.loads(read("index.toml").decode())
    return tuple(_sample(row) for row in index["sample"])


def sample(name: str) -> Sample:
    """The sample of that name, or UnknownSample."""
    for candidate in samples():
        if candidate.name == name:
            return candidate
    raise UnknownSample(name)


def read(file: str) -> bytes:
    """A data file of the samples."""
    return (files("gateway.sandbox") / "samples" / file).read_bytes()


def wished_start(today: date) -> date:
    """The first business day that lies at least `DAYS_AHEAD` days after `today`."""
    calendar = BusinessCalendar(holidays=seed_holidays({today.year, today.year + 1}))
    return calendar.add_business_days(today + timedelta(days=DAYS_AHEAD - 1), 1)


def form(chosen: Sample, *, start: date | None) -> str:
    """The text of an application form, its dates moved to `start`; None leaves them as written."""
    text = chosen.content.decode()
    return text if start is None else text.replace(WRITTEN_DATE, form_date(start))


def applicant_address(chosen: Sample) -> str:
    """Who mails the form: the sender the index names, else the applicant (申込担当者) in the form."""
    match = REGISTERED_ADDRESS.search(chosen.content.decode())
    if chosen.mail_from is None and match is None:
        raise ValueError(f"sample {chosen.name}: no sender in the index and no address in the form")
    return chosen.mail_from or str(match and match[1])


def application_mail(chosen: Sample, *, mail_from: str, rcpt_to: str, now: datetime, as_is: bool = False) -> bytes:
    """The application as a mail with its attachments; `now` dates it and, unless `as_is`, its form."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = f"{APPLICANT_NAME} <{mail_from}>"
    mail["To"] = rcpt_to
    mail["Subject"] = SUBJECT
    mail["Date"] = format_datetime(now.astimezone(JST))
    mail["Message-ID"] = make_msgid(domain=mail_from.rpartition("@")[2])
    mail.set_content(form(chosen, start=None if as_is else wished_start(jst_date(now))))
    maintype, subtype = WORKBOOK_TYPE
    for attachment in chosen.attachments:
        mail.add_attachment(read(attachment.file), maintype=maintype, subtype=subtype, filename=attachment.name)
    return mail.as_bytes()


def edi_mail(chosen: Sample, *, mail_from: str, rcpt_to: str) -> bytes:
    """An EDI sample as the known in-house client mails it. A whole mail is given back as it is kept."""
    if chosen.kind is SampleKind.MAIL:
        return chosen.content
    return known_mail(chosen.content, mail_from=mail_from, rcpt_to=rcpt_to)


def result_address(chosen: Sample) -> str:
    """Whom a result is for: the mail address in its output common items (51/64)."""
    return chosen.content[OUTPUT_PLACES["mail_address"]].decode("ascii").strip()


def header_address(chosen: Sample, field: str) -> str:
    """The address in the From or To line of a whole mail."""
    for line in chosen.content.decode("ascii").splitlines():
        name, _, value = line.partition(":")
        if name.lower() == field.lower():
            return value.strip()
    raise ValueError(f"sample {chosen.name}: no {field} line")


def _sample(row: dict[str, Any]) -> Sample:
    return Sample(
        name=row["name"],
        kind=SampleKind(row["kind"]),
        file=row["file"],
        expect=Expectation(**row["expect"]),
        attachments=tuple(Attachment(**each) for each in row.get("attachments", ())),
        replace=tuple(Replacement(**each) for each in row.get("replace", ())),
        mail_from=row.get("mail_from"),
    )
