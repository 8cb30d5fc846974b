"""Files of an application mail: which one is the system diagram (システム構成図), and does it really open?

A workbook is opened as far as every byte of it can be read, within limits that are checked before anything is
unpacked; its cells are nobody's business here. What is wrong is answered by the code of a rule.
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from handlers.applications.field_rules import ApplicationLimits
from handlers.applications.form_layout import read_data
from handlers.mail import MailAttachment

_URL = re.compile(r"https?://", re.IGNORECASE)
_READ_SIZE = 64 * 1024

# APPNOTE.TXT 4.3: local file header, end of central directory, its ZIP64 locator.
_ZIP_MAGIC = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"
_ZIP_END_SIZE = 22
_ZIP_LONGEST_COMMENT = 0xFFFF
_ZIP64_LOCATOR = b"PK\x06\x07"
_ZIP64_LOCATOR_SIZE = 20
_CENTRAL_ENTRY_LONGEST = 2048
_ZIP_ENCRYPTED = 0x1
_SAFE_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without a bound
_WORKBOOK_PART = "[Content_Types].xml"
_WORKBOOK_TYPE = b"spreadsheetml.sheet.main+xml"  # ECMA-376-1 15.2; not that of a macro workbook
_LONGEST_WORKBOOK_PART = 1 << 20
# MS-OFFMACRO2 2.1, 2.2: the parts of a VBA project and of macro sheets, and the types of a workbook that has them.
_MACRO_TYPES = re.compile(rb"macroenabled|vbaproject|macrosheet", re.IGNORECASE)
_MACRO_PARTS = re.compile(r"vbaproject|vbadata|macrosheets/", re.IGNORECASE)
_LINKED_FILES = "xl/externallinks/"  # ECMA-376-1 18.14

# MS-CFB 2.2 and MS-OFFCRYPTO 2.3: compound file, and the stream an encrypted .xlsx lives in.
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_SMALLEST = 1536
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_BOOK_STREAMS = ("Workbook".encode("utf-16-le"), "Book".encode("utf-16-le"))
# MS-XLS 2.4.21, 2.4.117: a workbook stream begins with the BOF of the globals; FilePass follows if encrypted.
_BIFF_GLOBALS = re.compile(rb"\x09\x08([\x08\x10])\x00\x00[\x05\x06]\x05\x00")
_BIFF_WRITE_PROTECT = b"\x86\x00"
_BIFF_FILE_PASS = b"\x2f\x00"
_VBA_STREAM = "_VBA_PROJECT".encode("utf-16-le")  # MS-OVBA 2.2.1

# MS-OXTNEF 2.1.1.1: the signature of the stream that Outlook's rich text format travels in.
_TNEF_MAGIC = b"\x78\x9f\x3e\x22"
_TNEF_NAME = "winmail.dat"
_TNEF_TYPES = ("application/ms-tnef", "application/vnd.ms-tnef")
# RFC 8551 3.2: the whole mail, enveloped or signed as one; RFC 3156 4: encrypted with PGP.
_ENCRYPTED_TYPES = ("application/pkcs7-mime", "application/x-pkcs7-mime", "application/pgp-encrypted")
_SIGNATURE_TYPES = ("application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marks:
    """data/attachments.toml."""

    diagram_name: str
    workbook_extensions: tuple[str, ...]
    archive_extensions: tuple[str, ...]
    link_words: tuple[str, ...]


@cache
def _marks() -> _Marks:
    data = read_data("attachments.toml")
    return _Marks(
        diagram_name=data["diagram_name"],
        workbook_extensions=tuple(data["workbook_extensions"]),
        archive_extensions=tuple(data["archive_extensions"]),
        link_words=tuple(data["link_words"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagramChoice:
    """The system diagram, or the code of the rule that says why there is none.

    `external_links`: the workbook refers to files that did not come with it.
    """

    file: MailAttachment | None = None
    broken_rule: str | None = None
    external_links: bool = False


def same_name(left: str, right: str) -> bool:
    """Whether two file names are the same text: some systems write their marks as characters of their own."""
    return unicodedata.normalize("NFC", left) == unicodedata.normalize("NFC", right)


def is_rich_text(files: Iterable[MailAttachment]) -> bool:
    """Whether the mail came as a winmail.dat, which hides text and files from everybody but Outlook."""
    return any(
        file.content_type in _TNEF_TYPES or file.name.casefold() == _TNEF_NAME or file.content.startswith(_TNEF_MAGIC)
        for file in files
    )


def is_encrypted_mail(files: Iterable[MailAttachment]) -> bool:
    """Whether the text of the mail is inside an S/MIME or PGP envelope."""
    return any(file.content_type in _ENCRYPTED_TYPES for file in files)


def is_signature(file: MailAttachment) -> bool:
    """Whether a file is the signature of the mail: it proves something of the mail and is no file of it."""
    return file.content_type in _SIGNATURE_TYPES


def choose_diagram(
    files: Iterable[MailAttachment], *, named: str, text: str, limits: ApplicationLimits
) -> DiagramChoice:
    """The file `named` names, else the one called システム構成図, else the only workbook; and that it opens.

    `text` is the text of the mail, where a link may stand in place of the file.
    """
    present = tuple(file for file in files if file.name and not file.inline)
    if named:
        found = tuple(file for file in present if same_name(file.name, named))
    else:
        found = _called_diagram(present) or tuple(file for file in present if _is_workbook(file))
    if len(found) > 1:
        return DiagramChoice(broken_rule="diagram_several")
    if not found:
        return DiagramChoice(broken_rule=_why_absent(present, named=named, text=text))
    broken = workbook_problem(found[0], limits)
    if broken:
        return DiagramChoice(broken_rule=broken)
    return DiagramChoice(file=found[0], external_links=_refers_to_files(found[0]))


def _refers_to_files(workbook: MailAttachment) -> bool:
    """Of an .xlsx that opens: whether cells of it come from other workbooks."""
    if not workbook.content.startswith(_ZIP_MAGIC):
        return False
    with zipfile.ZipFile(io.BytesIO(workbook.content)) as package:
        return any(name.lower().startswith(_LINKED_FILES) for name in package.namelist())


def _called_diagram(files: tuple[MailAttachment, ...]) -> tuple[MailAttachment, ...]:
    """Files whose name holds システム構成図; of these the workbooks, when there are any."""
    called = tuple(file for file in files if _marks().diagram_name in unicodedata.normalize("NFC", file.name))
    return tuple(file for file in called if _is_workbook(file)) or called


def _why_absent(files: tuple[MailAttachment, ...], *, named: str, text: str) -> str:
    if any(_is_encrypted_archive(file) for file in files):
        return "diagram_encrypted"
    if _URL.search(named) or (_URL.search(text) and any(word in text.lower() for word in _marks().link_words)):
        return "diagram_link"
    return "file_not_attached" if named and files else "diagram_missing"


def _extension(file: MailAttachment) -> str:
    return PurePosixPath(file.name).suffix.lower()


def _is_workbook(file: MailAttachment) -> bool:
    return _extension(file) in _marks().workbook_extensions


def _is_encrypted_archive(file: MailAttachment) -> bool:
    """A ZIP whose first member is encrypted (APPNOTE.TXT 4.4.4, bit 0)."""
    is_archive = _extension(file) in _marks().archive_extensions or file.content.startswith(_ZIP_MAGIC)
    return is_archive and len(file.content) > 6 and bool(file.content[6] & _ZIP_ENCRYPTED)


def workbook_problem(file: MailAttachment, limits: ApplicationLimits) -> str | None:
    """The rule that a file in the place of the diagram breaks, or None when it is a workbook that opens."""
    if not _is_workbook(file):
        return "diagram_encrypted" if _is_encrypted_archive(file) else "diagram_type"
    content = file.content
    if content.startswith(_OLE_MAGIC) and _ENCRYPTED_STREAM in content:
        return "diagram_encrypted"
    if _extension(file) == ".xls":
        return _binary_workbook_problem(content)
    return _packaged_workbook_problem(content, limits)


def _binary_workbook_problem(content: bytes) -> str | None:
    """.xls: a compound file with a workbook stream whose globals can be seen and are not encrypted."""
    is_compound = content.startswith(_OLE_MAGIC) and len(content) >= _OLE_SMALLEST
    begin = _BIFF_GLOBALS.search(content) if is_compound else None
    if begin is None or not any(stream in content for stream in _BOOK_STREAMS):
        return "diagram_unreadable"
    following = begin.start() + 4 + begin[1][0]
    if content[following : following + 2] == _BIFF_WRITE_PROTECT:
        following += 4
    if content[following : following + 2] == _BIFF_FILE_PASS:
        return "diagram_encrypted"
    return "diagram_macro" if _VBA_STREAM in content else None


def _packaged_workbook_problem(content: bytes, limits: ApplicationLimits) -> str | None:
    """.xlsx: a ZIP, small enough when unpacked, every member whole, with the parts of a workbook."""
    problem = _directory_problem(content, limits)
    if problem:
        return problem
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            members = package.infolist()
            return _members_problem(members, limits) or _parts_problem(package, members)
    except Exception:  # noqa: BLE001 - hostile bytes: the archive reader's exceptions are not documented
        return "diagram_unreadable"


def _directory_problem(content: bytes, limits: ApplicationLimits) -> str | None:
    """Whether the archive's list of members is small, seen before it is read."""
    end = content.rfind(_ZIP_END, max(0, len(content) - _ZIP_END_SIZE - _ZIP_LONGEST_COMMENT))
    if not content.startswith(_ZIP_MAGIC) or end < 0 or len(content) - end < _ZIP_END_SIZE:
        return "diagram_unreadable"
    if content[end - _ZIP64_LOCATOR_SIZE :].startswith(_ZIP64_LOCATOR):
        return "diagram_too_large"
    members = int.from_bytes(content[end + 10 : end + 12], "little")
    directory_size = int.from_bytes(content[end + 12 : end + 16], "little")
    too_many = members > limits.most_workbook_members
    return "diagram_too_large" if too_many or directory_size > members * _CENTRAL_ENTRY_LONGEST else None


def _members_problem(members: list[zipfile.ZipInfo], limits: ApplicationLimits) -> str | None:
    if any(member.flag_bits & _ZIP_ENCRYPTED for member in members):
        return "diagram_encrypted"
    if any(member.compress_type not in _SAFE_COMPRESSIONS for member in members):
        return "diagram_unreadable"
    unpacked = sum(member.file_size for member in members)
    return "diagram_too_large" if unpacked > limits.greatest_unpacked_workbook else None


def _parts_problem(package: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> str | None:
    """Read every member to its end; the archive reader compares length and check sum."""
    types = b""
    for member in members:
        with package.open(member) as part:
            beginning = part.read(_LONGEST_WORKBOOK_PART if member.filename == _WORKBOOK_PART else _READ_SIZE)
            if member.filename == _WORKBOOK_PART:
                types = beginning
            while part.read(_READ_SIZE):
                pass
    if _MACRO_TYPES.search(types) or any(_MACRO_PARTS.search(member.filename) for member in members):
        return "diagram_macro"
    return None if _WORKBOOK_TYPE in types else "diagram_unreadable"
