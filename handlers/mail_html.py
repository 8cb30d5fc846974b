"""An HTML part as plain text: what is seen, in lines, so that a form in it reads as one that was typed.

Block elements begin and end lines, the cells of a table row are parted by tabs, quoted parts get their marks, and a
signature mark its space. Total and linear in its input.
"""

from __future__ import annotations

import html
import re
from enum import StrEnum

_TAG = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
_BLOCKS = frozenset(
    (
        "address", "article", "aside", "center", "dd", "div", "dl", "dt", "footer", "form", "h1", "h2", "h3", "h4",
        "h5", "h6", "header", "hr", "li", "main", "ol", "p", "section", "table", "tbody", "tfoot", "thead", "ul",
    )
)  # fmt: skip
_CELLS = frozenset(("td", "th"))
_HIDDEN = frozenset(("head", "script", "style", "title"))
_QUOTE = "blockquote"
_WIDE_LINE_END = re.compile(r"(?<=[^\x00-\x7f])[ \t]*[\r\n]+[ \t]*(?=[^\x00-\x7f])")
_LINE_END = re.compile(r"\r\n|\r|\n")
_WHITE_SPACE = re.compile(r"[ \t\r\n]+")
_MOST_QUOTES = 20


def plain_text(source: str) -> str:
    """The visible text of an HTML part."""
    page = _Page()
    position = 0
    while (opening := source.find("<", position)) >= 0:
        page.add(source[position:opening])
        position = _after_markup(source, opening, page)
    page.add(source[position:])
    return page.text()


class _Mark(StrEnum):
    """What a run is: text, the end of a line with the quote marks of the next one, or the end of a cell."""

    TEXT = "text"
    LINE = "line"
    CELL = "cell"


class _Page:
    """The text so far, run by run."""

    def __init__(self) -> None:
        self._runs: list[tuple[_Mark, str]] = []
        self._quotes = 0
        self._verbatim = 0
        self._is_first_cell = True

    def add(self, run: str) -> None:
        """Between two tags the source's own line ends are spaces, or nothing between two wide characters."""
        if self._verbatim:
            self._add_verbatim(run)
            return
        visible = html.unescape(_WHITE_SPACE.sub(" ", _WIDE_LINE_END.sub("", run))).replace("\xa0", " ")
        if visible and (visible.strip(" ") or not self._at_start()):
            self._runs.append((_Mark.TEXT, visible))

    def end_line(self, *, always: bool = False) -> None:
        if always or not self._at_start():
            self._runs.append((_Mark.LINE, "\n" + ">" * self._quotes))

    def row(self) -> None:
        """A row begins or ends; an empty cell at its end still parts a label from its value."""
        self.end_line(always=bool(self._runs) and self._runs[-1][0] is _Mark.CELL)
        self._is_first_cell = True

    def cell(self) -> None:
        """A cell begins; blocks at the end of the cell before it left line ends that nobody sees."""
        if self._is_first_cell:
            self._is_first_cell = False
            self.end_line()
        else:
            while self._runs and self._runs[-1][0] is _Mark.LINE:
                self._runs.pop()
            self._runs.append((_Mark.CELL, "\t"))

    def quote(self, *, closes: bool) -> None:
        """A quote begins or ends, on a line of its own."""
        self._quotes = max(self._quotes - 1, 0) if closes else min(self._quotes + 1, _MOST_QUOTES)
        marks = ">" * self._quotes
        if self._runs and self._runs[-1][0] is _Mark.LINE:
            self._runs.pop()
        self._runs.append((_Mark.LINE, "\n" + marks if self._runs else marks))

    def verbatim(self, *, closes: bool) -> None:
        """Text with line ends of its own begins or ends."""
        self.end_line()
        self._verbatim = max(self._verbatim + (-1 if closes else 1), 0)

    def text(self) -> str:
        lines = [line.strip(" ") for line in "".join(run for _, run in self._runs).split("\n")]
        return "\n".join("-- " if line == "--" else line for line in lines)

    def _add_verbatim(self, run: str) -> None:
        for number, line in enumerate(_LINE_END.split(run)):
            if number:
                self.end_line(always=True)
            visible = html.unescape(line).replace("\xa0", " ")
            if visible:
                self._runs.append((_Mark.TEXT, visible))

    def _at_start(self) -> bool:
        return not self._runs or self._runs[-1][0] is not _Mark.TEXT


def _after_markup(source: str, opening: int, page: _Page) -> int:
    """Read one tag, comment or declaration, and return where the text goes on."""
    if source.startswith("<!--", opening):
        return _after(source, "-->", opening)
    tag = _TAG.match(source, opening + 1)
    if tag is None:
        if source.startswith(("<!", "<?"), opening):
            return _after(source, ">", opening)
        page.add("&lt;")
        return opening + 1
    name, closes = tag.group(1).lower(), tag.group()[0] == "/"
    if name in _HIDDEN and not closes:
        closing = re.compile(f"</{name}[^>]*>?", re.IGNORECASE).search(source, opening)
        return closing.end() if closing else len(source)
    _lay_out(page, name, closes=closes)
    return _after(source, ">", opening)


def _lay_out(page: _Page, name: str, *, closes: bool) -> None:
    if name == "br":
        page.end_line(always=True)
    elif name == _QUOTE:
        page.quote(closes=closes)
    elif name == "pre":
        page.verbatim(closes=closes)
    elif name == "tr":
        page.row()
    elif name in _CELLS:
        if not closes:
            page.cell()
    elif name in _BLOCKS:
        page.end_line()


def _after(source: str, mark: str, start: int) -> int:
    """The position behind the next `mark`, or the end of the source: unclosed markup hides what follows."""
    position = source.find(mark, start)
    return len(source) if position < 0 else position + len(mark)
