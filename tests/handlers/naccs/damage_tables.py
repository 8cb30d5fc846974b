"""Reads the tables of docs/damage.md and does to the sound request what their rows say."""

from __future__ import annotations

import ast
import base64
import binascii
import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.handlers.naccs.sound_mime import BODIES, FILE_NAME, FORMS, HEADERS, name_of
from tests.handlers.naccs.sound_request import ADDRESS, BODY, HEADER, OFFICE, Users

PAGE = Path(__file__).parents[3] / "docs" / "damage.md"
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s";]+|;')


def rows(first_column: str) -> list[dict[str, str]]:
    """The rows of every table whose first column has this name, as column -> cell."""
    found = []
    columns: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not columns:
            columns = cells
        elif columns[0] == first_column and not set(cells[0]) <= set("-:"):
            found.append(dict(zip(columns, cells, strict=True)))
    return found


@dataclass
class Sending:
    """The sound request on its way, open to damage: the body, the mail around it, and who sends it."""

    body: bytes = BODY
    header: bytes = HEADER
    blank_line: bytes = b"\r\n"
    encoding: str = ""
    wire_length: int | None = None
    wire_end: bytes = b""
    bare_lf: bool = False
    mail_from: str = ADDRESS
    office: str = OFFICE
    users: Users = field(default_factory=Users)
    hours: str = ""
    stopped: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str) -> Sending:
        """A sound mail of one of the families that are passed on whole."""
        return cls(body=BODIES[name], header=HEADERS[name])

    def content(self) -> bytes:
        wire = self.body
        if self.encoding == "base64":
            wire = base64.encodebytes(wire).replace(b"\n", b"\r\n")
        elif self.encoding == "quoted-printable":
            wire = binascii.b2a_qp(wire, istext=True)
        content = self.header + self.blank_line + wire[: self.wire_length] + self.wire_end
        return content.replace(b"\r\n", b"\n") if self.bare_lf else content

    def damage(self, made_by: str) -> Sending:
        """This sending after the steps of a row."""
        steps: list[list[str | bytes]] = [[]]
        for token in TOKEN.findall(made_by.strip("`")):
            if token == ";":
                steps.append([])
            else:
                steps[-1].append(ast.literal_eval("b" + token) if token.startswith('"') else token)
        for name, *arguments in steps:
            getattr(self, "_" + str(name).replace("-", "_"))(*arguments)
        return self

    def _cut(self, length: str) -> None:
        self.body = self.body[: int(length)]

    def _put(self, at: str, data: bytes) -> None:
        self.body = self.body[: int(at)] + data + self.body[int(at) + len(data) :]

    def _drop(self, at: str, count: str) -> None:
        self.body = self.body[: int(at)] + self.body[int(at) + int(count) :]

    def _insert(self, at: str, data: bytes) -> None:
        self.body = self.body[: int(at)] + data + self.body[int(at) :]

    def _append(self, *arguments: str | bytes) -> None:
        *count, data = arguments
        assert isinstance(data, bytes)
        self.body += data * int(count[0]) if count else data

    def _header(self, field: bytes) -> None:
        self._no_header(field.partition(b":")[0].decode())
        self._second_header(field)

    def _second_header(self, field: bytes) -> None:
        self.header += field + b"\r\n"

    def _no_header(self, name: str) -> None:
        lines = self.header.splitlines(keepends=True)
        self.header = b"".join(line for line in lines if not line.lower().startswith(name.lower().encode()))

    def _no_headers(self) -> None:
        self.header = self.blank_line = b""

    def _encode(self, encoding: str) -> None:
        self.encoding = encoding
        self._header(f"Content-Transfer-Encoding:{encoding}".encode())

    def _wire_cut(self, length: str) -> None:
        self.wire_length = int(length)

    def _wire_append(self, data: bytes) -> None:
        self.wire_end = data

    def _wire_line_ends(self) -> None:
        self.bare_lf = True

    def _mail_from(self, address: str) -> None:
        self.mail_from = address

    def _office(self, code: str) -> None:
        self.office = code

    def _procedures(self, *codes: str) -> None:
        self.users = self.users.with_all(procedures=codes)

    def _barred(self) -> None:
        self.users = self.users.with_all(barred=True)

    def _user_hours(self, hours: str) -> None:
        self.users = self.users.with_all(service_hours=hours)

    def _hours(self, hours: str) -> None:
        self.hours = hours

    def _stopped(self, *codes: str) -> None:
        self.stopped = frozenset(codes)

    def _left(self, *checks: str) -> None:
        self.left = frozenset(checks)

    def _swap(self, old: bytes, new: bytes) -> None:
        assert old in self.body
        self.body = self.body.replace(old, new)

    def _fill(self, length: str, data: bytes) -> None:
        self.body += data * (int(length) - len(self.body))

    def _long_name(self, form: str, codec: str, length: str) -> None:
        self._swap(FILE_NAME, FORMS[form](name_of(int(length), codec), codec))

    def _parts(self, count: str) -> None:
        self._swap(b"--=_b1--", b"--=_b1\r\n\r\nmore\r\n" * int(count) + b"--=_b1--")

    def _nest(self, count: str) -> None:
        inner = b'"=_b1"'
        for number in range(int(count)):
            outer = b"level%d" % number
            part = b"Content-Type: multipart/mixed; boundary=" + inner + b"\r\n\r\n" + self.body
            self.body = b"--" + outer + b"\r\n" + part + b"\r\n--" + outer + b"--\r\n"
            inner = outer
        self._header(b"Content-Type: multipart/mixed; boundary=" + inner)
