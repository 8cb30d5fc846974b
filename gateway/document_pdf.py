"""Papers as PDF/A-2b, written by typst from a layout of ours and data that stays data.

Every character has a glyph: one that the font lacks is printed as 〓 and named at the foot, never left out. Two calls
with the same paper on the same day give the same bytes. Slow (0.1 s), so never inside a unit of work.
"""

from __future__ import annotations

import json
import logging
import threading
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any

from gateway.setting_desk import DocumentsSection
from handlers.documents import DocumentKind, DocumentRequest
from handlers.notice_mail import NoticePart

log = logging.getLogger(__name__)

_LAYOUT = Path(__file__).parent / "document_layout" / "contract_change.typ"
_GETA = "〓"
_FONT_FILES = ("*.ttf", "*.otf", "*.ttc")
_FONTS_IN_A_FILE = 32
_FAMILY_NAMES = (1, 16)  # OpenType name table: family, typographic family
_CLOSINGS = {
    DocumentKind.APPLICATION: "この申込書を郵送していただく必要はありません。社内での管理にご利用ください。",
    DocumentKind.APPROVAL: "上記のとおり、利用契約の変更を承認しました。この通知は大切に保管してください。",
}


class DocumentFault(Exception):
    """A paper cannot be written here; the text says what to do."""


class DocumentWriter:
    """Writes papers with one font; may be used by several threads."""

    def __init__(self, settings: DocumentsSection) -> None:
        self._settings = settings
        self._lock = threading.Lock()

    def write(self, request: DocumentRequest) -> bytes:
        """The paper as PDF. Raises DocumentFault."""
        try:
            import typst
        except ImportError as error:
            raise DocumentFault("papers need the pdf extra: pip install naccs-gateway[pdf]") from error
        inputs = {"paper": json.dumps(self._values(request), ensure_ascii=False)}
        issued = datetime.combine(_day(request), time(), tzinfo=UTC)
        try:
            with self._lock:
                # A layout of ours and no package: nothing is read from the network or beside the fonts.
                written = self._compiler.compile(
                    format="pdf", sys_inputs=inputs, pdf_standards=["a-2b"], timestamp=issued
                )
        except typst.TypstError as error:
            raise DocumentFault(f"{request.title}: {error.message}") from error
        if not isinstance(written, bytes):
            raise DocumentFault(f"{request.title}: the writer gave no single file")
        return written

    def parts(self, requests: Sequence[DocumentRequest]) -> tuple[NoticePart, ...]:
        """The papers as parts of a mail; one that cannot be written is logged and left out."""
        written = []
        for request in requests:
            try:
                content = self.write(request)
            except DocumentFault as fault:
                log.error("a paper of %s was not written: %s", request.receipt_number, fault)  # noqa: TRY400
                continue
            written.append(NoticePart(file_name=request.file_name, subtype="pdf", content=content))
        return tuple(written)

    @cached_property
    def _compiler(self) -> Any:
        import typst

        folders = [folder for folder in self._settings.font_directories if folder.is_dir()]
        return typst.Compiler(_LAYOUT, root=_LAYOUT.parent, font_paths=folders, ignore_system_fonts=True)

    @cached_property
    def _glyphs(self) -> frozenset[int]:
        """The characters the font has."""
        for path in _font_files(self._settings.font_directories):
            glyphs = _glyphs_of(path, self._settings.font)
            if glyphs is not None:
                return glyphs
        where = ", ".join(str(folder) for folder in self._settings.font_directories)
        raise DocumentFault(
            f"documents.font: no font {self._settings.font} below {where}; install one "
            "(Debian: fonts-ipaexfont-mincho) or name another"
        )

    def _values(self, request: DocumentRequest) -> dict[str, Any]:
        missing: set[str] = set()
        day = _day(request)
        plain = asdict(request)
        rows = plain.pop("rows")
        values: dict[str, Any] = {key: self._printable(value, missing) for key, value in plain.items()}
        values["rows"] = [self._row(row, missing) for row in rows]
        return values | {
            "fonts": [self._settings.font],
            "issued": [day.year, day.month, day.day],
            "closing": _CLOSINGS[request.kind],
            "unprintable": _named(missing),
        }

    def _row(self, row: Mapping[str, Any], missing: set[str]) -> dict[str, str]:
        # A line of details below an item has no box of its own.
        mark = "" if row["heading"].startswith("　") else "■" if row["ticked"] else "□"
        texts = {key: self._printable(row[key], missing) for key in ("heading", "before", "after")}
        return {"mark": mark, **texts}

    def _printable(self, value: str, missing: set[str]) -> str:
        composed = unicodedata.normalize("NFC", value)
        lacking = {character for character in composed if character != "\n" and ord(character) not in self._glyphs}
        missing |= lacking
        return "".join(_GETA if character in lacking else character for character in composed)


def _day(request: DocumentRequest) -> Any:
    return datetime.strptime(request.issued_on, "%Y年%m月%d日").replace(tzinfo=UTC).date()


def _font_files(folders: Iterable[Path]) -> Iterable[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from sorted(path for pattern in _FONT_FILES for path in folder.rglob(pattern))


def _glyphs_of(path: Path, family: str) -> frozenset[int] | None:
    """The characters of the font of that family in a file; None where it holds no such font."""
    from fontTools.ttLib import TTFont, TTLibError

    numbers = range(_FONTS_IN_A_FILE) if path.suffix == ".ttc" else (-1,)
    for number in numbers:
        try:
            with TTFont(path, fontNumber=number, lazy=True) as font:
                names = {str(name) for name in font["name"].names if name.nameID in _FAMILY_NAMES}
                if family in names:
                    return frozenset(font.getBestCmap())
        except (TTLibError, OSError):
            break  # no font, or no further one in the collection
    return None


def _named(missing: set[str]) -> str:
    if not missing:
        return ""
    codes = "、".join(f"U+{ord(character):04X}" for character in sorted(missing))
    return f"※ 〓は、この書式で印字できない文字です（{codes}）。"
