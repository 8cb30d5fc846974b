"""Processing result notifications (処理結果通知) and inquiry results: written byte-exact, and outputs read.

In SMTP two-way the mail address is filled and the terminal name blank unless it is given. Addresses and codes
are upper-case: a known client drops a whole item over one lower-case letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from handlers.naccs.common_items import (
    CRLF,
    LAST_PART,
    OUTPUT_ITEMS,
    OUTPUT_PLACES,
    WIDTH,
    WIDTH_WITH_LINE_END,
    InputCommonItems,
    OutputCommonItems,
)
from handlers.naccs.fields import AN_LINE, DEFAULT_CODEC, SN, FieldError, J
from handlers.naccs.message import SYSTEM_LETTERS
from handlers.naccs.result_codes import CODE_WIDTH, CODES_PER_RESULT, NORMAL_END

CODES_WIDTH = CODE_WIDTH * CODES_PER_RESULT
SYSTEM_COMMON_MESSAGE = "*CCMSG"  # NACCS EDI appendix 6, answers to errors found before the procedure
COMMON_PROCEDURES = frozenset({"TCC", "SYG"})  # neither air nor sea, whatever the system identification says
COMMON_LETTER = "C"
TO_THE_REQUESTER = "Q"  # 宛管形式 INQ
RESULT = "R"  # 電文種別, processing result notification
INQUIRY_RESULT = "M"  # 電文種別, inquiry result
MESSAGE_TYPES = frozenset("RPCMTU")
ENDING_TYPES = frozenset("RM")  # the notification or the inquiry result: the request is answered
_ADDRESS_WIDTH = next(item.width for item in OUTPUT_ITEMS if item.name == "mail_address")


def result_notification(
    items: InputCommonItems,
    codes: Sequence[str],
    *,
    address: str,
    received_at_jst: datetime,
    information: str | None = None,
    key: bytes = b"",
    terminal: str = "",
    codec: str = DEFAULT_CODEC,
) -> bytes:
    """The whole message: common items, one to five codes of 15 characters, and a key item where there is one.

    `address` is the requester's mail address, `received_at_jst` the aware time the request came.
    `information` is the output information code; None derives it. `key` is the key item at its full
    width; the subject repeats it.
    """
    return _answer(
        items,
        codes,
        key + CRLF if key else b"",
        output=OutputCommonItems(
            output_information_code=information or output_information_code(items, codes),
            message_type=RESULT,
            received_at=received_at_jst,
            logical_terminal_name=terminal,
            mail_address=_fitting(address),
            subject=f"{codes[0]} {J.decode(key, codec)}" if codes and key else "".join(codes[:1]),
        ),
        codec=codec,
    )


def inquiry_result(
    items: InputCommonItems,
    data: bytes,
    *,
    information: str,
    address: str,
    received_at_jst: datetime,
    codes: Sequence[str] = (NORMAL_END,),
    terminal: str = "",
    codec: str = DEFAULT_CODEC,
) -> bytes:
    """The whole message of an inquiry result (type M), in one part: `001` and `E`.

    `data` is what follows the codes and their line end, every item closed by CRLF. `information` is the output
    information code, which for a list of undelivered messages must not begin with an asterisk (NACCS EDI 9).
    """
    if data and not data.endswith(CRLF):
        raise FieldError("the items of an inquiry result end on a line end")
    return _answer(
        items,
        codes,
        data,
        output=OutputCommonItems(
            output_information_code=information,
            message_type=INQUIRY_RESULT,
            division_serial_number=1,
            received_at=received_at_jst,
            logical_terminal_name=terminal,
            mail_address=_fitting(address),
            subject="".join(codes[:1]),
        ),
        codec=codec,
    )


def output_code_of(answer: bytes) -> str:
    """The output information code of a message (8/7) without its filling; empty where there is none to read.

    Own answers and the backend's results are stored under it alike.
    """
    place = OUTPUT_PLACES["output_information_code"]
    try:
        return AN_LINE.decode(answer[place])
    except FieldError:
        return ""


def output_information_code(items: InputCommonItems, codes: Sequence[str]) -> str:
    """Asterisk, family letter and procedure code; the system common message where a code is of kind A."""
    if any(code.startswith("A") for code in codes):
        return SYSTEM_COMMON_MESSAGE
    procedure = items.procedure_code
    letter = SYSTEM_LETTERS.get(items.system_identification, COMMON_LETTER)
    return f"*{COMMON_LETTER if procedure in COMMON_PROCEDURES else letter}{procedure}"


def read_output(body: bytes, codec: str = DEFAULT_CODEC) -> OutputCommonItems | None:
    """The output common items of a message from the backend; None where it is no output at all.

    An item that cannot be read is blank: one odd subject must not keep a result from its request.
    """
    if body[WIDTH:WIDTH_WITH_LINE_END] != CRLF:
        return None
    output = OutputCommonItems.readable_part(body, codec)
    if output.message_type not in MESSAGE_TYPES or not WIDTH_WITH_LINE_END <= output.message_length <= len(body):
        return None
    return output


def codes_of(message: bytes) -> tuple[str, ...]:
    """The result codes of a message of type R or M, without the unused places; empty for any other message."""
    output = read_output(message)
    if output is None or output.message_type not in ENDING_TYPES:
        return ()
    item = message[WIDTH_WITH_LINE_END : WIDTH_WITH_LINE_END + CODES_WIDTH].decode("ascii", "replace")
    places = (item[at : at + CODE_WIDTH].strip() for at in range(0, len(item), CODE_WIDTH))
    return tuple(code for code in places if code)


def correlation(items: InputCommonItems | OutputCommonItems) -> tuple[str, str]:
    """What joins a result to its request: handover and input information number, trimmed; not unique."""
    return items.handover.strip(), items.input_information_number.strip()


def _fitting(address: str) -> str:
    """The address as the item takes it; one that does not fit stays away, so that the answer can go."""
    upper = address.upper()
    try:
        SN.encode(upper, _ADDRESS_WIDTH)
    except FieldError:
        return ""
    return upper


def _answer(
    items: InputCommonItems, codes: Sequence[str], data: bytes, *, output: OutputCommonItems, codec: str
) -> bytes:
    """The codes, then the data, behind common items that echo the request's."""
    if not 1 <= len(codes) <= CODES_PER_RESULT or any(len(code) != CODE_WIDTH for code in codes):
        raise FieldError(f"a result has one to {CODES_PER_RESULT} codes of {CODE_WIDTH} characters")
    body = SN.encode("".join(codes), CODES_WIDTH) + CRLF + data
    common = replace(
        output,
        procedure_code=items.procedure_code,
        user_code=items.user_code,
        handover=items.handover,
        final_indicator=LAST_PART,
        input_information_number=items.input_information_number,
        index_handover=items.index_handover,
        destination_control_type=TO_THE_REQUESTER,
        message_length=WIDTH_WITH_LINE_END + len(body),
    )
    return common.encode(codec) + body
