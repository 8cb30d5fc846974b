"""Sound mails of the families that are passed on whole, as docs/damage.md damages them, and names of a given size."""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote_from_bytes

from tests.handlers.naccs.sound_request import ADDRESS

# In Shift_JIS the first has a backslash in it, in ISO-2022-JP the second a quote.
HARD_CHARACTERS = "表あ"
FILE_NAME = b'attachment; filename="invoice.txt"'
INTERCHANGE = b"UNB+UNOA:3+TST01+NACCS+250401:0930+1'\r\nUNZ+0+1'\r\n"


def _header(content_type: str) -> bytes:
    return (
        f"From:{ADDRESS}\r\nTo:NACCS@SMTP.PROD.NACCS6\r\nMime-Version:1.0\r\nContent-Type:{content_type}\r\n"
    ).encode()


HEADERS = {
    "MIME": _header('multipart/mixed; boundary="=_b1"'),
    "EDIFACT": _header("application/edifact") + b"Content-Transfer-Encoding:8bit\r\n",
    "XML": _header('Text/xml;charset="EUC-JP"') + b"Content-Transfer-Encoding:8bit\r\n",
}
BODIES = {
    "MIME": b"\r\n".join(
        (
            b"--=_b1",
            b"Content-Type: application/edifact",
            b"",
            INTERCHANGE,
            b"--=_b1",
            b"Content-Type: application/octet-stream",
            b"Content-Transfer-Encoding: base64",
            b"Content-Disposition: " + FILE_NAME,
            b"",
            base64.b64encode(b"an invoice" * 20),
            b"--=_b1--",
            b"",
        )
    ),
    "EDIFACT": b"UNA:+.? '\r\n" + INTERCHANGE,
    "XML": b'<?xml version="1.0" encoding="EUC-JP"?>\r\n<request/>\r\n',
}


def name_of(size: int, codec: str) -> bytes:
    """A file name of exactly so many bytes in this codec, with characters that are hard to read where it has them."""
    head = b"" if codec == "ascii" else (HARD_CHARACTERS * 20).encode(codec)
    return head + b"a" * (size - len(head) - 4) + b".txt"


def _words(name: bytes, codec: str, encoding: str, encoded: Callable[[bytes], bytes]) -> bytes:
    begin = f"=?{codec.replace('_', '-')}?{encoding}?".encode()
    words = (begin + encoded(name[at : at + 30]) + b"?=" for at in range(0, len(name), 30))
    return b'attachment; filename="' + b"\r\n ".join(words) + b'"'


def _continued(name: bytes, codec: str) -> bytes:
    size = max(1, len(name) // 10_000, 20 if len(name) < 1000 else 1)
    pieces = [name[at : at + size] for at in range(0, len(name), size)]
    charset = codec.replace("_", "-")
    return b"attachment;\r\n " + b";\r\n ".join(
        f"filename*{number}*={chr(39).join((charset, '', '')) if not number else ''}{quote_from_bytes(piece)}".encode()
        for number, piece in enumerate(pieces)
    )


FORMS: dict[str, Callable[[bytes, str], bytes]] = {
    "plain": lambda name, codec: b'attachment; filename="' + name + b'"',
    "bare": lambda name, codec: b"attachment; filename=" + name,
    "extended": lambda name, codec: (
        f"attachment; filename*={codec.replace('_', '-')}'ja'{quote_from_bytes(name)}".encode()
    ),
    "continued": _continued,
    "words-b": lambda name, codec: _words(name, codec, "B", base64.b64encode),
    "words-q": lambda name, codec: _words(name, codec, "q", lambda part: b"".join(b"=%02X" % byte for byte in part)),
    "both": lambda name, codec: b'attachment; filename="short.txt"; ' + FORMS["extended"](name, codec)[12:],
    "content-type": lambda name, codec: b'attachment\r\nContent-Type: application/octet-stream; name="' + name + b'"',
}
