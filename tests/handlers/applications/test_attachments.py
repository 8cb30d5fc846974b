from __future__ import annotations

import unicodedata
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.applications.attachments import (
    choose_diagram,
    is_encrypted_mail,
    is_rich_text,
    is_signature,
    same_name,
    workbook_problem,
)
from handlers.applications.field_rules import ApplicationLimits
from handlers.mail import MailAttachment
from tests.handlers.applications.application_mails import (
    binary_workbook,
    bomb,
    compound_file,
    encrypted_package,
    encrypted_workbook,
    macro_workbook,
    package,
    workbook,
)

LIMITS = ApplicationLimits()
WORKBOOK = workbook()
TYPES = b'<Types ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'


def attachment(name: str, content: bytes = WORKBOOK, *, inline: bool = False) -> MailAttachment:
    return MailAttachment(name=name, content=content, content_type="application/octet-stream", inline=inline)


def problem(content: bytes, name: str = "a.xlsx", limits: ApplicationLimits = LIMITS) -> str | None:
    return workbook_problem(attachment(name, content), limits)


def choose(*files: MailAttachment, named: str = "", text: str = ""):
    return choose_diagram(files, named=named, text=text, limits=LIMITS)


class TestWorkbook:
    def test_a_real_workbook_opens(self):
        assert problem(WORKBOOK) is None
        assert problem(workbook(2000)) is None

    @pytest.mark.parametrize("version", [0x0600, 0x0500])
    @pytest.mark.parametrize("write_protected", [False, True])
    def test_a_binary_workbook_opens_unless_it_is_encrypted(self, version, write_protected):
        options = {"version": version, "write_protected": write_protected}
        assert problem(binary_workbook(**options), "a.xls") is None
        assert problem(binary_workbook(encrypted=True, **options), "a.xls") == "diagram_encrypted"

    @pytest.mark.parametrize("name", ["a.xls", "a.xlsx"])
    def test_an_encrypted_workbook_is_told_apart_from_a_damaged_one(self, name):
        assert problem(encrypted_workbook(), name) == "diagram_encrypted"

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.xls", b""),
            ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
            ("a.xls", WORKBOOK),
            ("a.xls", compound_file("WordDocument", b"")),
            ("a.xls", compound_file("Workbook", b"no records")),
            ("a.xlsx", b""),
            ("a.xlsx", b"PK\x03\x04"),
            ("a.xlsx", b"PK\x03\x04" + b"\x00" * 30 + b"PK\x05\x06"),
            ("a.xlsx", binary_workbook()),
            ("a.xlsx", b"x" + WORKBOOK),
            ("a.xlsx", package({"a.txt": b"x"})),
            ("a.xlsx", package({"[Content_Types].xml": TYPES}, zipfile.ZIP_BZIP2)),
            ("a.xlsx", package({"[Content_Types].xml": TYPES}, zipfile.ZIP_LZMA)),
        ],
    )
    def test_what_does_not_open_is_unreadable(self, name, content):
        assert problem(content, name) == "diagram_unreadable"

    def test_a_member_that_was_changed_on_the_way_is_found(self):
        content = bytearray(package({"[Content_Types].xml": TYPES, "xl/a.xml": b"a" * 100}, zipfile.ZIP_STORED))
        content[content.index(b"aaaa")] ^= 1
        assert problem(bytes(content)) == "diagram_unreadable"

    def test_an_encrypted_member_is_told(self):
        assert problem(encrypted_package()) == "diagram_encrypted"

    def test_nothing_is_unpacked_beyond_the_limit(self):
        assert problem(bomb()) == "diagram_too_large"
        assert problem(WORKBOOK, limits=ApplicationLimits(greatest_unpacked_workbook=1000)) == "diagram_too_large"
        assert problem(WORKBOOK, limits=ApplicationLimits(most_workbook_members=5)) == "diagram_too_large"

    def test_a_lying_directory_is_not_believed(self):
        content = bytearray(WORKBOOK)
        end = content.rindex(b"PK\x05\x06")
        content[end + 10 : end + 12] = (1).to_bytes(2, "little")
        content[end + 12 : end + 16] = (1 << 24).to_bytes(4, "little")
        assert problem(bytes(content)) == "diagram_too_large"
        locator = WORKBOOK[:end] + b"PK\x06\x07" + b"\x00" * 16 + WORKBOOK[end:]
        assert problem(locator) == "diagram_too_large"

    def test_a_member_that_unpacks_to_more_than_it_says_is_found(self):
        content = bytearray(package({"[Content_Types].xml": TYPES, "xl/a.xml": b" " * 100_000}))
        size = (100_000).to_bytes(4, "little")
        first, second = content.index(size), content.rindex(size)
        for place in (first, second):
            content[place : place + 4] = (10).to_bytes(4, "little")
        assert problem(bytes(content)) == "diagram_unreadable"

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_no_damage_raises(self, data):
        content = bytearray(data.draw(st.sampled_from([WORKBOOK, binary_workbook(), encrypted_package()])))
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        content = content[: data.draw(st.integers(0, len(content)))]
        problem(bytes(content), data.draw(st.sampled_from(["a.xls", "a.xlsx"])))


class TestChoice:
    def test_a_name_is_the_same_however_its_marks_are_stored(self):
        composed = "ダイアグラム.xlsx"
        decomposed = unicodedata.normalize("NFD", composed)
        assert same_name(composed, decomposed)
        assert choose(attachment(decomposed), named=composed).file is not None

    def test_the_named_file_comes_before_the_one_called_diagram(self):
        named = attachment("b.xlsx")
        assert choose(attachment("システム構成図.xlsx"), named, named="b.xlsx").file is named

    def test_inline_and_nameless_files_are_not_looked_at(self):
        assert choose(attachment("a.xlsx", inline=True), attachment("")).broken_rule == "diagram_missing"

    def test_an_encrypted_archive_is_told_even_without_its_extension(self):
        assert choose(attachment("diagram.bin", encrypted_package())).broken_rule == "diagram_encrypted"
        assert choose(attachment("diagram.zip", b"PK")).broken_rule == "diagram_missing"

    @pytest.mark.parametrize(
        ("named", "text", "broken"),
        [
            ("HTTPS://files.example/1", "", "diagram_link"),
            ("", "DOWNLOAD: https://files.example/1", "diagram_link"),
            ("", "https://files.example/1", "diagram_missing"),
            ("", "ダウンロードできます", "diagram_missing"),
        ],
    )
    def test_a_link_counts_in_place_of_the_name_or_beside_a_word(self, named, text, broken):
        assert choose(named=named, text=text).broken_rule == broken


class TestMacros:
    @pytest.mark.parametrize(
        "part",
        [
            "xl/vbaProject.bin",
            "XL/VBAPROJECT.BIN",
            "xl/vbaData.xml",
            "xl/macrosheets/sheet1.xml",
            "other/vbaProject.bin",
        ],
    )
    def test_a_part_that_holds_macros_is_told(self, part):
        assert problem(macro_workbook(part)) == "diagram_macro"

    @pytest.mark.parametrize(
        "kind",
        [
            b"application/vnd.ms-excel.sheet.macroEnabled.main+xml",
            TYPES + b"vnd.ms-office.vbaProject",
            TYPES + b"macrosheet+xml",
        ],
    )
    def test_a_type_of_macros_is_told(self, kind):
        assert problem(package({"[Content_Types].xml": kind})) == "diagram_macro"

    def test_a_binary_workbook_with_a_project_is_told(self):
        project = binary_workbook() + "_VBA_PROJECT_CUR".encode("utf-16-le")
        assert problem(project, "a.xls") == "diagram_macro"
        assert problem(binary_workbook(encrypted=True) + project[-32:], "a.xls") == "diagram_encrypted"


class TestLinkedFiles:
    def test_links_to_other_workbooks_are_told_and_harmless(self):
        linked = choose(attachment("a.xlsx", macro_workbook("xl/externalLinks/externalLink1.xml")))
        assert (linked.broken_rule, linked.external_links) == (None, True)
        assert not choose(attachment("a.xlsx")).external_links
        assert not choose(attachment("a.xls", binary_workbook())).external_links


class TestMailsThatHideTheirFiles:
    @pytest.mark.parametrize(
        ("name", "kind", "content"),
        [
            ("WINMAIL.DAT", "application/octet-stream", b""),
            ("a.dat", "application/ms-tnef", b""),
            ("", "application/vnd.ms-tnef", b""),
            ("a.dat", "application/octet-stream", b"\x78\x9f\x3e\x22\x00"),
        ],
    )
    def test_rich_text_of_outlook_is_known_by_name_type_and_content(self, name, kind, content):
        assert is_rich_text([MailAttachment(name=name, content=content, content_type=kind)])

    def test_other_files_are_none(self):
        assert not is_rich_text([attachment("winmail.txt"), attachment("a.xlsx")])
        assert not is_encrypted_mail([attachment("smime.p7m")])
        assert not is_signature(attachment("smime.p7s"))

    def test_envelopes_and_signatures_are_known_by_type(self):
        assert is_encrypted_mail([MailAttachment(name="smime.p7m", content=b"", content_type="application/pkcs7-mime")])
        assert is_signature(MailAttachment(name="smime.p7s", content=b"", content_type="application/pkcs7-signature"))
