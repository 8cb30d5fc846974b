"""Field kinds of NACCS EDI items: what may stand in an item and how it is written to its exact width.

Widths are bytes in the wire encoding, never characters (NACCS EDI 3.6). A value that does not fit is a
FieldError: nothing is cut, replaced or guessed. Spaces that only fill an item are no part of its value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol, TypeVar

from handlers.calendar import JST
from handlers.naccs.vendor_codec import VENDOR_CODECS

DEFAULT_CODEC = "euc_jp"
KNOWN_CODECS = (DEFAULT_CODEC, *VENDOR_CODECS)  # what a terminal may have as its codec

# Code sets of the column classes, as the bytes that may stand in an item.
AN_CODES = bytes((0x0A, 0x0D, *range(0x20, 0x24), *range(0x25, 0x5B)))
AN_LINE_CODES = AN_CODES.replace(b"\n", b"").replace(b"\r", b"")
ANR_CODES = bytes(range(0x20, 0x60))
SN_CODES = bytes(range(0x20, 0x7F))
CONTROL_CHARACTERS = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]")
DECIMAL_NUMBER = re.compile(rb" *([0-9]+(?:\.[0-9]+)?)")

Value = TypeVar("Value")


class FieldError(ValueError):
    """A value or the bytes of an item break the rule of its kind; the text never repeats them (passwords)."""


class Kind(Protocol[Value]):
    """One column class: `encode` gives exactly `width` bytes, `decode` gives back the value."""

    @property
    def name(self) -> str: ...

    def encode(self, value: Value, width: int, codec: str = DEFAULT_CODEC) -> bytes: ...

    def decode(self, data: bytes, codec: str = DEFAULT_CODEC) -> Value: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TextKind:
    """ASCII text out of one code set: left-justified, filled with spaces."""

    name: str
    code_set: bytes

    def encode(self, value: str, width: int, codec: str = DEFAULT_CODEC) -> bytes:
        try:
            data = value.encode("ascii")
        except UnicodeEncodeError:
            raise FieldError(f"{self.name} takes single-byte characters only") from None
        if data.translate(None, self.code_set):
            raise FieldError(f"a character is not of class {self.name}")
        return left(data, width)

    def decode(self, data: bytes, codec: str = DEFAULT_CODEC) -> str:
        if data.translate(None, self.code_set):
            raise FieldError(f"a byte is not of class {self.name}")
        return data.rstrip(b" ").decode("ascii")


@dataclass(frozen=True, kw_only=True, slots=True)
class JapaneseKind:
    """Text in the wire encoding, full and half width: left-justified, filled with spaces."""

    name: str

    def encode(self, value: str, width: int, codec: str = DEFAULT_CODEC) -> bytes:
        refuse_control_characters(value)
        try:
            data = value.encode(codec, "strict")
        except UnicodeEncodeError:
            raise FieldError(f"a character does not exist in {codec}") from None
        # Python's euc_jp maps the yen sign and the overline onto ASCII: they would come back as others.
        if data.decode(codec, "replace") != value:
            raise FieldError(f"a character has no place of its own in {codec}")
        return left(data, width)

    def decode(self, data: bytes, codec: str = DEFAULT_CODEC) -> str:
        try:
            value = data.rstrip(b" ").decode(codec, "strict")
        except UnicodeDecodeError:
            raise FieldError(f"the bytes are not {codec}") from None
        refuse_control_characters(value)
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberKind:
    """A number with or without decimals: right-justified, spaces on the left. None is an empty item."""

    name: str

    def encode(self, value: Decimal | None, width: int, codec: str = DEFAULT_CODEC) -> bytes:
        if value is None:
            return b" " * width
        if not value.is_finite() or value.is_signed():
            raise FieldError("a number is finite and has no sign")
        data = format(value, "f").encode("ascii")
        if len(data) > width:
            raise FieldError(f"{len(data)} bytes do not fit into {width}")
        return data.rjust(width)

    def decode(self, data: bytes, codec: str = DEFAULT_CODEC) -> Decimal | None:
        if not data.strip(b" "):
            return None
        found = DECIMAL_NUMBER.fullmatch(data)
        if found is None:
            raise FieldError("not a right-justified number")
        return Decimal(found.group(1).decode("ascii"))


@dataclass(frozen=True, kw_only=True, slots=True)
class ZeroFilledKind:
    """A whole number in zero-filled digits: all of the item, or its first `digits` bytes and then spaces."""

    name: str
    digits: int | None = None

    def encode(self, value: int, width: int, codec: str = DEFAULT_CODEC) -> bytes:
        digits = self.digits or width
        data = b"%0*d" % (digits, value)
        if value < 0 or len(data) > digits or digits > width:
            raise FieldError(f"not a number of at most {digits} digits within {width} bytes")
        return data.ljust(width)

    def decode(self, data: bytes, codec: str = DEFAULT_CODEC) -> int:
        digits = self.digits or len(data)
        number, rest = data[:digits], data[digits:]
        if len(number) != digits or not number.isdigit() or rest.strip(b" "):
            raise FieldError(f"not a number of {digits} digits")
        return int(number)


@dataclass(frozen=True, kw_only=True, slots=True)
class DateKind:
    """A day as yyyyMMdd in 8 bytes; None is an item without a value."""

    name: str

    def encode(self, value: date | None, width: int, codec: str = DEFAULT_CODEC) -> bytes:
        if width != 8:
            raise FieldError("a date takes 8 bytes")
        if value is None:
            return b" " * width
        return b"%04d%02d%02d" % (value.year, value.month, value.day)

    def decode(self, data: bytes, codec: str = DEFAULT_CODEC) -> date | None:
        if data == b" " * 8:
            return None
        if len(data) != 8 or not data.isdigit():
            raise FieldError("not a date of 8 digits")
        try:
            return date(int(data[:4]), int(data[4:6]), int(data[6:]))
        except ValueError:
            raise FieldError("no such day") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class DateTimeKind:
    """A minute of Japanese time as yyyyMMddHHmm and two spaces; None is an item without a value.

    Written with 12 digits always. Read with 12 or 14: which of the two the centre sends is not public.
    """

    name: str

    def encode(self, value: datetime | None, width: int, codec: str = DEFAULT_CODEC) -> bytes:
        if width != 14:
            raise FieldError("a date and time takes 14 bytes")
        if value is None:
            return b" " * width
        if value.tzinfo is None:
            raise FieldError("a date and time needs its time zone")
        local = value.astimezone(JST)
        return b"%04d%02d%02d%02d%02d  " % (local.year, local.month, local.day, local.hour, local.minute)

    def decode(self, data: bytes, codec: str = DEFAULT_CODEC) -> datetime | None:
        if data == b" " * 14:
            return None
        digits = data[:12] + data[12:].replace(b"  ", b"00")
        if len(digits) != 14 or not digits.isdigit():
            raise FieldError("not a date and time of 12 or 14 digits")
        year, month, day, hour, minute, second = (
            int(digits[start:end]) for start, end in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))
        )
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=JST)
        except ValueError:
            raise FieldError("no such date and time") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class FlagKind:
    """An asterisk or a space in one byte."""

    name: str

    def encode(self, value: bool, width: int, codec: str = DEFAULT_CODEC) -> bytes:
        if width != 1:
            raise FieldError("a flag takes 1 byte")
        return b"*" if value else b" "

    def decode(self, data: bytes, codec: str = DEFAULT_CODEC) -> bool:
        if data not in {b"*", b" "}:
            raise FieldError("a flag is an asterisk or a space")
        return data == b"*"


def left(data: bytes, width: int) -> bytes:
    """Data filled with spaces on the right up to width; data that is longer is a FieldError, never cut."""
    if len(data) > width:
        raise FieldError(f"{len(data)} bytes do not fit into {width}")
    return data.ljust(width)


def refuse_control_characters(value: str) -> None:
    """Line ends may stand in Japanese text as in AN (NACCS EDI 3.6); other control characters may not."""
    if CONTROL_CHARACTERS.search(value):
        raise FieldError("a control character")


def zero_filled_in(digits: int) -> ZeroFilledKind:
    """Class NPD with the digit count of its item."""
    return ZeroFilledKind(name="NPD", digits=digits)


AN = TextKind(name="AN", code_set=AN_CODES)
AN_LINE = TextKind(name="AN", code_set=AN_LINE_CODES)  # AN in the common items, which are one line
ANR = TextKind(name="ANR", code_set=ANR_CODES)
SN = TextKind(name="SN", code_set=SN_CODES)
J = JapaneseKind(name="J")
N = NumberKind(name="N")
NLEN = ZeroFilledKind(name="NLEN")
DATE = DateKind(name="Date")
DATE_TIME = DateTimeKind(name="DateTime")
FLG = FlagKind(name="FLG")
