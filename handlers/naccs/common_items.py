"""Input and output common items: the first 398 bytes of every NACCS EDI message, and the CRLF after them.

The two tables are the grid of NACCS EDI 5.1 and 5.2; whatever reads or writes a common item takes its
place from them. A password is never part of a repr.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from handlers.naccs.fields import (
    AN_LINE,
    DATE_TIME,
    DEFAULT_CODEC,
    NLEN,
    SN,
    SN_CODES,
    FieldError,
    J,
    Kind,
    TextKind,
)

CRLF = b"\r\n"
WIDTH = 398
WIDTH_WITH_LINE_END = 400
LAST_PART = "E"  # 最終表示
MAX_MESSAGE_BYTES = 700_000  # NACCS EDI 4.2, whole message in bytes

# Other clients fill parts of the reserved runs: whatever prints is let through untouched.
RESERVED = TextKind(name="reserved", code_set=SN_CODES)


class Item(NamedTuple):
    """One row of the grid: offset and width in bytes, name, column class, name in the specification."""

    offset: int
    width: int
    name: str
    kind: Kind[Any]
    label: str

    @property
    def place(self) -> slice:
        """Where the item stands in a message."""
        return slice(self.offset, self.offset + self.width)


# NACCS EDI 5.1, input common items (入力共通項目).
INPUT_ITEMS = (
    Item(0, 3, "control_information", RESERVED, "制御情報"),
    Item(3, 5, "procedure_code", AN_LINE, "業務コード"),
    Item(8, 21, "reserved_8", RESERVED, "予約"),
    Item(29, 5, "user_code", AN_LINE, "利用者コード"),
    Item(34, 3, "identification_number", AN_LINE, "識別番号"),
    Item(37, 8, "password", AN_LINE, "利用者パスワード"),
    Item(45, 174, "reserved_45", RESERVED, "予約"),
    Item(219, 26, "handover", AN_LINE, "電文引継情報"),
    Item(245, 8, "reserved_245", RESERVED, "予約"),
    Item(253, 10, "input_information_number", AN_LINE, "入力情報特定番号"),
    Item(263, 100, "index_handover", AN_LINE, "索引引継情報"),
    Item(363, 1, "reserved_363", RESERVED, "予約"),
    Item(364, 1, "system_identification", SN, "システム識別"),
    Item(365, 27, "reserved_365", RESERVED, "予約"),
    Item(392, 6, "message_length", NLEN, "電文長"),
)

# NACCS EDI 5.2, output common items (出力共通項目). SMTP two-way fills the mail address, interactive mode the
# terminal name. The address may hold `_`, which AN lacks.
OUTPUT_ITEMS = (
    Item(0, 3, "control_information", RESERVED, "制御情報"),
    Item(3, 5, "procedure_code", AN_LINE, "業務コード"),
    Item(8, 7, "output_information_code", AN_LINE, "出力情報コード"),
    Item(15, 14, "received_at", DATE_TIME, "電文受信日時"),
    Item(29, 5, "user_code", AN_LINE, "利用者コード"),
    Item(34, 11, "reserved_34", RESERVED, "予約"),
    Item(45, 6, "logical_terminal_name", AN_LINE, "論理端末名"),
    Item(51, 64, "mail_address", SN, "利用者のメールアドレス"),
    Item(115, 64, "subject", J, "Subject（業務個別データ）"),
    Item(179, 40, "reserved_179", RESERVED, "予約"),
    Item(219, 26, "handover", AN_LINE, "電文引継情報"),
    Item(245, 3, "division_serial_number", NLEN, "分割通番"),
    Item(248, 1, "final_indicator", AN_LINE, "最終表示"),
    Item(249, 1, "message_type", AN_LINE, "電文種別"),
    Item(250, 3, "reserved_250", RESERVED, "予約"),
    Item(253, 10, "input_information_number", AN_LINE, "入力情報特定番号"),
    Item(263, 100, "index_handover", AN_LINE, "索引引継情報"),
    Item(363, 1, "destination_control_type", AN_LINE, "宛管形式"),
    Item(364, 28, "reserved_364", RESERVED, "予約"),
    Item(392, 6, "message_length", NLEN, "電文長"),
)

INPUT_PLACES = {item.name: item.place for item in INPUT_ITEMS}
OUTPUT_PLACES = {item.name: item.place for item in OUTPUT_ITEMS}

_PROCEDURE_CODE = INPUT_PLACES["procedure_code"]
_USER_CODE = INPUT_PLACES["user_code"]
_IDENTIFICATION_NUMBER = INPUT_PLACES["identification_number"]
_PASSWORD = INPUT_PLACES["password"]
_HANDOVER = INPUT_PLACES["handover"]
_INPUT_INFORMATION_NUMBER = INPUT_PLACES["input_information_number"]
_INDEX_HANDOVER = INPUT_PLACES["index_handover"]
_SYSTEM_IDENTIFICATION = INPUT_PLACES["system_identification"]
_MESSAGE_LENGTH = INPUT_PLACES["message_length"]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class InputCommonItems:
    """The common items of a request, kept as the 398 bytes that came; an item is read when asked for."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != WIDTH:
            raise FieldError(f"common items are {WIDTH} bytes")

    def __repr__(self) -> str:
        return f"InputCommonItems(procedure_code={self.procedure_code!r}, user_code={self.user_code!r})"

    @classmethod
    def of(cls, **values: str | int) -> InputCommonItems:
        """The common items with these values by name; what is not named is blank, the message length 400."""
        unknown = values.keys() - INPUT_PLACES.keys()
        if unknown:
            raise FieldError(f"no such input common item: {', '.join(sorted(unknown))}")
        values.setdefault("message_length", WIDTH_WITH_LINE_END)
        return cls(raw=b"".join(item.kind.encode(values.get(item.name, ""), item.width) for item in INPUT_ITEMS))

    @classmethod
    def readable_part(cls, body: bytes) -> InputCommonItems:
        """What can be read of a damaged body; items that are missing, cut or not of their class are blank."""
        return cls(raw=b"".join(_readable_bytes(item, body) for item in INPUT_ITEMS))

    def encode(self) -> bytes:
        """The 400 bytes of the wire, line end included."""
        return self.raw + CRLF

    def _text(self, place: slice) -> str:
        return self.raw[place].rstrip(b" ").decode("ascii")

    @property
    def procedure_code(self) -> str:
        return self._text(_PROCEDURE_CODE)

    @property
    def user_code(self) -> str:
        return self._text(_USER_CODE)

    @property
    def identification_number(self) -> str:
        return self._text(_IDENTIFICATION_NUMBER)

    @property
    def password(self) -> bytes:
        """The password without its filling; it is compared, never shown."""
        return self.raw[_PASSWORD].rstrip(b" ")

    @property
    def handover(self) -> str:
        """The requester's own text, echoed in every answer. Not unique: known clients repeat values."""
        return self._text(_HANDOVER)

    @property
    def input_information_number(self) -> str:
        return self._text(_INPUT_INFORMATION_NUMBER)

    @property
    def index_handover(self) -> str:
        return self._text(_INDEX_HANDOVER)

    @property
    def system_identification(self) -> str:
        return self._text(_SYSTEM_IDENTIFICATION)

    @property
    def message_length(self) -> int:
        """Bytes of the whole message; 0 where the item of a damaged message could not be read."""
        digits = self.raw[_MESSAGE_LENGTH]
        return int(digits) if digits.isdigit() else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputCommonItems:
    """The common items of a result or an output, as values."""

    procedure_code: str = ""
    output_information_code: str = ""
    received_at: datetime | None = None
    user_code: str = ""
    logical_terminal_name: str = ""
    mail_address: str = ""
    subject: str = ""
    handover: str = ""
    division_serial_number: int = 0
    final_indicator: str = ""
    message_type: str = ""
    input_information_number: str = ""
    index_handover: str = ""
    destination_control_type: str = ""
    message_length: int = WIDTH_WITH_LINE_END

    @property
    def is_last_part(self) -> bool:
        """Whether this is all of an output or the last part of a divided one (最終表示)."""
        return self.final_indicator == LAST_PART

    def encode(self, codec: str = DEFAULT_CODEC) -> bytes:
        """The 400 bytes of the wire, line end included. FieldError where a value does not fit its item."""
        parts = [
            b" " * item.width
            if item.kind is RESERVED
            else item.kind.encode(getattr(self, item.name), item.width, codec)
            for item in OUTPUT_ITEMS
        ]
        return b"".join(parts) + CRLF

    @classmethod
    def readable_part(cls, body: bytes, codec: str = DEFAULT_CODEC) -> OutputCommonItems:
        """The items of a body; one that is missing, cut or not of its class has its blank value."""
        values: dict[str, Any] = {"message_length": 0}
        for item in OUTPUT_ITEMS:
            if item.kind is RESERVED:
                continue
            try:
                values[item.name] = read(item, body, codec)
            except FieldError:
                continue
        return cls(**values)


def read(item: Item, body: bytes, codec: str = DEFAULT_CODEC) -> Any:
    """The value of one item of a body; FieldError where it is missing, cut or not of its class."""
    data = body[item.place]
    if len(data) != item.width:
        raise FieldError("the body ends before the item does")
    return item.kind.decode(data, codec)


def _readable_bytes(item: Item, body: bytes) -> bytes:
    try:
        read(item, body)
    except FieldError:
        return b" " * item.width
    return body[item.place]
