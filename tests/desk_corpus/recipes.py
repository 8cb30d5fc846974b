"""Mails of the corpus that are too large, too secret or too hostile to lie in a folder: each built from its recipe.

A recipe names its builder; every builder makes the same octets each time.
"""

from __future__ import annotations

import base64
import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from tests.handlers.applications.application_mails import (
    FORM,
    binary_workbook,
    compound_file,
    encrypted_package,
    encrypted_workbook,
    form_with,
    package,
)

_MAIN = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
_MACRO_MAIN = "application/vnd.ms-excel.sheet.macroEnabled.main+xml"
_SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"
_NAMESPACE = "http://schemas.openxmlformats.org"
_MEBIBYTE = 1 << 20
_BOUNDARY = "----=_Part_recipe"

Recipe = Mapping[str, Any]


def build(recipe: Recipe) -> bytes:
    """The mail of a recipe."""
    return _BUILDERS[recipe["builder"]](recipe)


def _header(recipe: Recipe) -> bytes:
    return (
        "Date: Tue, 24 Nov 2026 09:58:00 +0900\r\n"
        "From: tsukan-hanako@applicant.example\r\n"
        "To: apply@nss.center.example\r\n"
        "Subject: application\r\n"
        f"Message-ID: {recipe['message_id']}\r\n"
        "MIME-Version: 1.0\r\n"
    ).encode()


def _part(head: str, body: bytes) -> bytes:
    return f"{head}\r\n\r\n".encode() + body + b"\r\n"


def _mixed(recipe: Recipe, *parts: bytes) -> bytes:
    head = _header(recipe) + f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"\r\n\r\n'.encode()
    return head + b"".join(f"--{_BOUNDARY}\r\n".encode() + part for part in parts) + f"--{_BOUNDARY}--\r\n".encode()


def _text(recipe: Recipe, above: str = "") -> bytes:
    text = above + form_with(recipe.get("set"), form=FORM)
    head = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit"
    return _part(head, text.replace("\n", "\r\n").encode())


def _file(recipe: Recipe, content: bytes) -> bytes:
    name = base64.b64encode(recipe["file_name"].encode()).decode()
    head = (
        "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        f"Content-Disposition: attachment;\r\n filename==?utf-8?B?{name}?="
    )
    return _part(head.replace("filename=", 'filename="') + '"', base64.encodebytes(content).replace(b"\n", b"\r\n"))


def _with_diagram(make: Callable[[], bytes]) -> Callable[[Recipe], bytes]:
    return lambda recipe: _mixed(recipe, _text(recipe), _file(recipe, make()))


def _content_types(main: str = _MAIN, more: str = "") -> bytes:
    return (
        f'<Types xmlns="{_NAMESPACE}/package/2006/content-types">'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{main}"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEET}"/>{more}</Types>'
    ).encode()


def _relationships(*targets: tuple[str, str, str]) -> bytes:
    """(id, type, target and mode as written)."""
    kind = f"{_NAMESPACE}/officeDocument/2006/relationships"
    entries = (f'<Relationship Id="{i}" Type="{kind}/{name}" Target="{target}/>' for i, name, target in targets)
    body = "".join(entries)
    return f'<Relationships xmlns="{_NAMESPACE}/package/2006/relationships">{body}</Relationships>'.encode()


def _members(types: bytes = b"", more: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """The members of a small, sound workbook, and more."""
    sheet = '<sheet name="1" sheetId="1"/>'
    spreadsheet = f'xmlns="{_NAMESPACE}/spreadsheetml/2006/main"'
    return {
        "[Content_Types].xml": types or _content_types(),
        "_rels/.rels": _relationships(("rId1", "officeDocument", 'xl/workbook.xml"')),
        "xl/workbook.xml": f"<workbook {spreadsheet}><sheets>{sheet}</sheets></workbook>".encode(),
        "xl/_rels/workbook.xml.rels": _relationships(("rId1", "worksheet", 'worksheets/sheet1.xml"')),
        "xl/worksheets/sheet1.xml": f"<worksheet {spreadsheet}><sheetData/></worksheet>".encode(),
        **(more or {}),
    }


def _zip_bomb() -> bytes:
    """200 MB of blanks."""
    content = io.BytesIO()
    blanks = b" " * _MEBIBYTE
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, member in _members().items():
            archive.writestr(name, member)
        with archive.open("xl/sharedStrings.xml", "w") as member_file:
            for _ in range(200):
                member_file.write(blanks)
    return content.getvalue()


def _lying_zip_bomb() -> bytes:
    """A member of 80 MB that its headers call 100 octets."""
    real = 80 * _MEBIBYTE
    content = bytearray(package(_members(more={"xl/sharedStrings.xml": b" " * real})))
    length, lie = struct.pack("<L", real), struct.pack("<L", 100)
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.find(signature)
        while start >= 0:
            if content[start + offset : start + offset + 4] == length:
                content[start + offset : start + offset + 4] = lie
            start = content.find(signature, start + 4)
    return bytes(content)


def _overlapping_members() -> bytes:
    """Ten thousand entries of the directory that name the octets of one member."""
    content = package(_members())
    directory = content.index(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    entry_end = content.index(b"PK\x01\x02", directory + 4)
    entries = content[directory:end] + content[directory:entry_end] * 10_000
    count = struct.pack("<HH", 10_005, 10_005)
    tail = content[end : end + 8] + count + struct.pack("<LL", len(entries), directory) + content[end + 20 :]
    return content[:directory] + entries + tail


def _many_members() -> bytes:
    return package(_members(more={f"xl/media/{number}.bin": b"" for number in range(60_000)}), zipfile.ZIP_STORED)


def _macro_project() -> bytes:
    more = '<Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/>'
    project = compound_file("VBA", b"Attribute VB_Name")
    return package(_members(_content_types(more=more), {"xl/vbaProject.bin": project}))


def _macro_sheet() -> bytes:
    kind = "application/vnd.ms-excel.macrosheet+xml"
    more = f'<Override PartName="/xl/macrosheets/sheet2.xml" ContentType="{kind}"/>'
    sheet = b'<xm:macrosheet xmlns:xm="http://schemas.microsoft.com/office/excel/2006/main"/>'
    return package(_members(_content_types(more=more), {"xl/macrosheets/sheet2.xml": sheet}))


def _macro_xls() -> bytes:
    """A binary workbook whose directory has the storage of a VBA project (MS-OVBA 2.2.1)."""
    book = binary_workbook()
    entries = [
        name.encode("utf-16-le").ljust(64, b"\x00") + struct.pack("<HB", 2 * len(name) + 2, 1)
        for name in ("_VBA_PROJECT_CUR", "VBA", "_VBA_PROJECT")
    ]
    return book + b"".join(entry.ljust(128, b"\x00") for entry in entries).ljust(512, b"\x00")


def _external_links() -> bytes:
    link = _relationships(("rId1", "externalLinkPath", 'https://files.example/book.xlsx" TargetMode="External"'))
    more = {"xl/externalLinks/externalLink1.xml": b"<x/>", "xl/externalLinks/_rels/externalLink1.xml.rels": link}
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.externalLink+xml"
    override = f'<Override PartName="/xl/externalLinks/externalLink1.xml" ContentType="{kind}"/>'
    return package(_members(_content_types(more=override), more))


def _large_workbook() -> bytes:
    """12 MB that do not compress, stored."""
    noise = bytes(range(256)) * (12 * _MEBIBYTE // 256)
    return package(_members(more={"xl/media/image1.png": noise}), zipfile.ZIP_STORED)


def _long_text(recipe: Recipe) -> bytes:
    line = "いつもお世話になっております。先日の件につきましてご連絡いたします。\n"
    return _mixed(recipe, _text(recipe, above=line * 20_000))


def _many_tags(recipe: Recipe) -> bytes:
    head = "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit"
    return _mixed(recipe, _part(head, b"<b></b>\r\n" * 500_000))


def _nested_multiparts(recipe: Recipe) -> bytes:
    """Each multipart holds the next one; the form is in the innermost."""
    levels = [
        f'Content-Type: multipart/mixed; boundary="b{number}"\r\n\r\n--b{number}\r\n'.encode() for number in range(1000)
    ]
    return _header(recipe) + b"".join(levels) + _text(recipe)


def _thirty_megabytes(recipe: Recipe) -> bytes:
    return _mixed(recipe, _text(recipe), _file(recipe, b"\x00" * (22 * _MEBIBYTE)))


_BUILDERS: Mapping[str, Callable[[Recipe], bytes]] = {
    "encrypted_zip": _with_diagram(encrypted_package),
    "encrypted_xlsx": _with_diagram(encrypted_workbook),
    "encrypted_xls": _with_diagram(lambda: binary_workbook(encrypted=True)),
    "zip_bomb": _with_diagram(_zip_bomb),
    "lying_zip_bomb": _with_diagram(_lying_zip_bomb),
    "many_members": _with_diagram(_many_members),
    "overlapping_members": _with_diagram(_overlapping_members),
    "macro_content_type": _with_diagram(lambda: package(_members(_content_types(_MACRO_MAIN)))),
    "macro_project": _with_diagram(_macro_project),
    "macro_xls": _with_diagram(_macro_xls),
    "macro_sheet": _with_diagram(_macro_sheet),
    "external_links": _with_diagram(_external_links),
    "large_workbook": _with_diagram(_large_workbook),
    "long_text": _long_text,
    "many_tags": _many_tags,
    "nested_multiparts": _nested_multiparts,
    "thirty_megabytes": _thirty_megabytes,
}
