"""Papers as PDF: the right words, a glyph for every character, the same bytes twice, text that stays text."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfReader

from gateway.document_pdf import DocumentFault, DocumentWriter
from gateway.setting_desk import DocumentsSection
from handlers.documents import TITLES, DocumentKind, DocumentRequest, DocumentRow

FOLDERS = DocumentsSection().font_directories
has_font = any(list(folder.rglob("ipaexm.ttf")) for folder in FOLDERS if folder.is_dir())
pytestmark = pytest.mark.skipif(not has_font, reason="the IPAex Mincho font is not installed")

PAPER = DocumentRequest(
    kind=DocumentKind.APPROVAL,
    receipt_number="260001A",
    title=TITLES[DocumentKind.APPROVAL],
    file_name="paper.pdf",
    issued_on="2026年12月14日",
    addressee="ナックス商事株式会社 第一営業部 御中",
    company_name="ナックス商事株式会社",
    office_code="CT0001",
    office_name="第一営業部",
    start_label="変更利用開始日",
    start_date="2026年12月14日",
    rows=(
        DocumentRow(heading="一般NACCS端末の登録情報（追加・削除）", ticked=True),
        DocumentRow(heading="　回線 09143（変更） SMTPサーバ台数（SMTP双方向）", before="0台", after="1台"),
        DocumentRow(heading="請求先担当者", before="通関　花子", after="髙﨑　彅"),
    ),
)


@pytest.fixture(scope="module")
def writer() -> DocumentWriter:
    return DocumentWriter(DocumentsSection())


def words(content: bytes) -> str:
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)
    return "".join(text.split())


def test_a_paper_says_everything_it_was_given(writer):
    said = words(writer.write(PAPER))
    for part in (PAPER.title, PAPER.addressee, "260001A", "CT0001", "2026年12月14日", "変更前", "変更後", "0台", "1台"):
        assert "".join(part.split()) in said
    assert "■一般NACCS端末" in said
    assert "□請求先担当者" in said
    assert "髙﨑彅" in said
    assert "〓" not in said


def test_a_paper_is_pdf_a_2b(writer):
    metadata = PdfReader(io.BytesIO(writer.write(PAPER))).xmp_metadata
    assert metadata is not None
    raw = writer.write(PAPER)
    assert b"<pdfaid:part>2</pdfaid:part>" in raw
    assert b"<pdfaid:conformance>B</pdfaid:conformance>" in raw


def test_the_same_paper_has_the_same_bytes(writer):
    assert writer.write(PAPER) == DocumentWriter(DocumentsSection()).write(PAPER)


def test_a_character_without_a_glyph_is_marked_and_named_at_the_foot(writer):
    said = words(writer.write(replace(PAPER, company_name="𠮷野商事株式会社")))
    assert "〓野商事株式会社" in said
    assert "U+20BB7" in said


@pytest.mark.parametrize("hostile", ["#evil[]", "$x$ *b* _i_", '"quote" \\ back', "<label> @ref", "[ ] { } // /* */"])
def test_what_somebody_wrote_is_never_markup(writer, hostile):
    said = words(writer.write(replace(PAPER, office_name=hostile)))
    assert "".join(hostile.split()) in said


def test_long_values_and_many_rows_go_on_to_the_next_page(writer):
    rows = tuple(DocumentRow(heading=f"項目{number}", before="前" * 120, after="後" * 120) for number in range(60))
    content = writer.write(replace(PAPER, rows=rows))
    assert len(PdfReader(io.BytesIO(content)).pages) > 1
    assert "項目59" in words(content)


def test_a_font_that_is_nowhere_is_refused_with_what_to_do(tmp_path: Path):
    writer = DocumentWriter(DocumentsSection(font_directories=(tmp_path,)))
    with pytest.raises(DocumentFault, match="fonts-ipaexfont-mincho"):
        writer.write(PAPER)
    assert writer.parts([PAPER]) == ()
