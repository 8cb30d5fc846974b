"""Application mails for tests: the seed's form with some of it changed, and files made for the purpose."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from email import policy
from email.message import EmailMessage
from pathlib import Path

import openpyxl

from handlers.applications.checks import Accepted, Invalid, read_application
from handlers.applications.contents import ApplicationContents
from handlers.applications.field_rules import ApplicationLimits, OfficeFacts
from handlers.mail import InboundMail

MAILS = Path(__file__).parents[2] / "mails"
FORM = (MAILS / "application-add-smtp-server.txt").read_text(encoding="utf-8")
DIAGRAM = "システム構成図.xlsx"
TODAY = date(2026, 11, 24)
OFFICE = OfficeFacts(
    office_code="CT0001", router_numbers={"09143": ("25130M", "27264C", "60777S"), "09200": ("25131M",)}
)
REGISTER = {"CT0001": OFFICE, "CT0002": OfficeFacts(office_code="CT0002", known=False)}


def inbound(raw: bytes, *, trusted: bool = True) -> InboundMail:
    return InboundMail(
        mail_id=1,
        listener="public",
        peer="127.0.0.1",
        helo="client.applicant.example",
        mail_from="tsukan-hanako@applicant.example",
        rcpt_to="apply@nss.center.example",
        received_at=datetime(2026, 11, 24, 3, 0, tzinfo=UTC),
        trusted=trusted,
        raw=raw,
    )


def form_with(values: Mapping[str, str] | None = None, drop: Sequence[str] = (), form: str = FORM) -> str:
    """The form with values set and labels taken out; both are named section/label, the first such label counts."""
    for place, value in (values or {}).items():
        form = _edit(form, place, lambda label, value=value: f"{label}: {value}\n")
    for place in drop:
        form = _edit(form, place, lambda _label: "")
    return form


def _edit(form, place, replacement):
    section, label = place.split("/", 1)
    start = form.index(f"【{section}】")
    line = re.compile(rf"^{re.escape(label)}:.*\n", re.MULTILINE).search(form, start)
    assert line is not None, place
    return form[: line.start()] + replacement(label) + form[line.end() :]


def mail_with(text: str = FORM, files: Sequence[tuple[str, bytes]] | None = None, **header: str) -> bytes:
    """A mail as a modern client writes it; `files` are attached, by default a real diagram."""
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = header.get("sender", "通関 花子 <tsukan-hanako@applicant.example>")
    mail["To"] = "apply@nss.center.example"
    mail["Subject"] = header.get("subject", "利用申込")
    mail["Message-ID"] = "<1@applicant.example>"
    mail.set_content(text)
    for name, content in [(DIAGRAM, workbook())] if files is None else files:
        mail.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return mail.as_bytes()


def read(
    raw: bytes,
    *,
    limits: ApplicationLimits | None = None,
    schedule: frozenset[date] = frozenset(),
    base: ApplicationContents | None = None,
    today: date = TODAY,
) -> Accepted | Invalid:
    return read_application(inbound(raw), REGISTER.get, today=today, limits=limits, schedule=schedule, base=base)


def accepted(raw: bytes, **options) -> Accepted:
    outcome = read(raw, **options)
    assert isinstance(outcome, Accepted), outcome.errors
    return outcome


def broken_places(raw: bytes, **options) -> list[str]:
    """Every error of a mail as section/label: rule."""
    outcome = read(raw, **options)
    assert isinstance(outcome, Invalid)
    return [f"{error.section}/{error.label}: {error.code}" for error in outcome.errors]


def workbook(rows: int = 3) -> bytes:
    """A real .xlsx."""
    book = openpyxl.Workbook()
    for number in range(rows):
        book.active.append(["回線", number, "ルータ"])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def package(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def encrypted_package() -> bytes:
    """An archive whose members say that they are encrypted, in both places where they say it."""
    content = bytearray(package({DIAGRAM: b"secret"}, zipfile.ZIP_STORED))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def encrypted_workbook() -> bytes:
    """What Excel writes for a password: a compound file with a stream EncryptedPackage (MS-OFFCRYPTO 2.3.4)."""
    return compound_file("EncryptedPackage", b"\x00" * 64)


def binary_workbook(*, encrypted: bool = False, write_protected: bool = False, version: int = 0x0600) -> bytes:
    """The beginning of an .xls: BOF of the globals, and FilePass where it has a password (MS-XLS 2.1.4)."""
    records = struct.pack("<HHHH", 0x0809, 16 if version == 0x0600 else 8, version, 5)
    records += b"\x00" * (12 if version == 0x0600 else 4)
    if write_protected:
        records += struct.pack("<HH", 0x0086, 0)
    if encrypted:
        records += struct.pack("<HHHHH", 0x002F, 6, 0, 0x1234, 0x5678)
    records += struct.pack("<HHH", 0x00E1, 2, 0x04B0) + struct.pack("<HH", 0x000A, 0)
    return compound_file("Workbook" if version == 0x0600 else "Book", records)


def compound_file(stream: str, content: bytes) -> bytes:
    """A small compound file: header, one sector of the stream, one directory sector (MS-CFB 2.2, 2.6)."""
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 16 + struct.pack("<HHH", 0x3E, 3, 0xFFFE)
    entry = stream.encode("utf-16-le").ljust(64, b"\x00") + struct.pack("<H", 2 * len(stream) + 2)
    return header.ljust(512, b"\x00") + content.ljust(512, b"\x00") + entry.ljust(512, b"\x00")


def macro_workbook(part: str) -> bytes:
    """A workbook with one part more."""
    content = io.BytesIO(workbook())
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(part, b"x")
    return content.getvalue()


def bomb() -> bytes:
    """A workbook that unpacks to more than the limit."""
    return package({"[Content_Types].xml": b"<Types/>", "xl/sheet1.xml": b" " * (65 << 20)})


FILE_KINDS: dict[str, Callable[[], bytes]] = {
    "workbook": workbook,
    "xls": binary_workbook,
    "xls-encrypted": lambda: binary_workbook(encrypted=True),
    "encrypted-workbook": encrypted_workbook,
    "encrypted-zip": encrypted_package,
    "zip": lambda: package({DIAGRAM: workbook()}),
    "cut": lambda: workbook()[:-400],
    "empty": lambda: b"",
    "text": "構成図は別途お送りします".encode,
    "macro-workbook": lambda: macro_workbook("xl/vbaProject.bin"),
    "winmail": lambda: b"\x78\x9f\x3e\x22\x01\x00",
    "bomb": bomb,
    "many": lambda: package({f"xl/{number}.xml": b"" for number in range(2001)}),
    "document": lambda: package({"[Content_Types].xml": b"wordprocessingml.document.main+xml"}),
}
