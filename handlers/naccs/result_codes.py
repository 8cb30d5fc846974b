"""Result codes as data: the kinds by their letter, every code of the system common kind (A), two of each procedure.

A code on the wire is 15 bytes: code, item abbreviation, row number (NACCS EDI 5.2, result-code help). The
texts are for people: portal, command line, logs and operator mails. A code that is not in the table has the texts
of its kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

CODE_WIDTH = 15
CODES_PER_RESULT = 5
NO_ITEM = "0000"
NORMAL = "00000"

_CODE = re.compile(r"[A-Z0-9][0-9]{4}")
_ITEM = re.compile(r"[A-Z0-9 ]{1,4}")
_WRITTEN = re.compile(r"(([0A-Z])[0-9]{4})(?:-([A-Z0-9 ]{4})-([0-9]{4}))?", re.ASCII)

Language = Literal["ja", "en"]


class ResultCode(NamedTuple):
    """A code with its cause and what the sender does about it, in Japanese and English."""

    code: str
    cause_ja: str
    cause_en: str
    action_ja: str
    action_en: str


class CodeKind(NamedTuple):
    """A kind of codes, and what holds of each code of it."""

    letter: str
    name_ja: str
    name_en: str
    cause_ja: str
    cause_en: str
    action_ja: str
    action_en: str


_KINDS = (
    CodeKind(
        "0", "正常終了", "normal end", "処理は正常に終了しました", "The processing ended normally",
        "対応は不要です", "Nothing needs to be done",
    ),
    CodeKind(
        "U", "入力者資格", "eligibility of the user", "入力者の資格に誤りがあります",
        "The user may not send this", "利用者コードと利用資格を確認してください",
        "Check the user code and what the user is qualified for",
    ),
    CodeKind(
        "S", "単項目チェック", "check of one item", "項目の内容に誤りがあります", "An item holds a wrong value",
        "示された項目を訂正して送信してください", "Correct the item named and send it again",
    ),
    CodeKind(
        "R", "項目関連チェック", "check of items against one another", "項目間の関係に誤りがあります",
        "Items do not agree with one another", "示された項目と関連する項目を訂正して送信してください",
        "Correct the item named and those it depends on, and send it again",
    ),
    CodeKind(
        "E", "業務条件チェック", "business condition", "業務の条件を満たしていません",
        "A condition of the procedure is not met", "業務の状態を確認してやり直してください",
        "Check the state of the case and redo the procedure",
    ),
    CodeKind(
        "W", "注意喚起", "caution", "処理は終了しましたが注意が必要です",
        "The processing was done, with a caution", "内容を確認してください。再送信は不要です",
        "Check what was input; do not send it again",
    ),
    CodeKind(
        "M", "指示", "instruction", "処理結果に指示があります", "The result comes with an instruction",
        "指示に従ってください", "Follow the instruction",
    ),
    CodeKind(
        "L", "論理", "logical error", "論理エラーです", "A logical error was found",
        "入力内容を確認してください", "Check what was input",
    ),
    CodeKind(
        "A", "システム共通", "system common", "システム共通のエラーです", "An error common to all procedures",
        "ヘルプデスクに連絡してください", "Call the help desk",
    ),
)  # fmt: skip
_UNKNOWN_KIND = CodeKind(
    "", "不明", "unknown", "結果コードを読み取れません", "The result code cannot be read",
    "ヘルプデスクに連絡してください", "Call the help desk",
)  # fmt: skip

_TABLE = (
    ResultCode(
        "00000", "処理は正常に終了しました", "The processing ended normally",
        "対応は不要です", "Nothing needs to be done",
    ),
    ResultCode(
        "A0001", "業務コードがありません", "The procedure code does not exist",
        "業務コードを確認してください", "Check the procedure code",
    ),
    ResultCode(
        "A0002", "この業務は現在利用できません", "The procedure cannot be used at present",
        "新しい端末は先に通信確認（TCC）を行ってください。ほかは再開のお知らせを待って送信してください",
        "From a new terminal, make the communication check (TCC) first; else wait until its return is announced",
    ),
    ResultCode(
        "A0003", "利用者コードが正しくありません", "The user code is not valid",
        "利用者コードを確認してください", "Check the user code",
    ),
    ResultCode(
        "A0004", "利用者パスワードが正しくありません", "The user password is not valid",
        "利用者パスワードを確認してください", "Check the user password",
    ),
    ResultCode(
        "A0005", "利用者コードと識別番号の組み合わせがありません",
        "No user has this user code and identification number",
        "識別番号を確認してください", "Check the identification number",
    ),
    ResultCode(
        "A0006", "サービス開始前です", "The service has not begun yet",
        "サービス時間内に送信してください", "Send it within the service hours",
    ),
    ResultCode(
        "A0007", "センター内で異常終了しました", "Processing ended abnormally in the centre",
        "ヘルプデスクに連絡してください", "Call the help desk",
    ),
    ResultCode(
        "A0008", "電文長が受信した電文と合いません", "The message length does not fit the message received",
        "電文長と各項目の桁数を確認してください", "Check the message length and the width of each item",
    ),
    ResultCode(
        "A0009", "使えない文字または改行があります", "A character or line end is not allowed where it stands",
        "共通項目の文字と改行（CRLF）を確認してください",
        "Check the characters of the common items and that every line end is CRLF",
    ),
    ResultCode(
        "A0010", "サービスを終了しています", "The service is ending",
        "サービス時間内に送信してください", "Send it within the service hours",
    ),
    ResultCode(
        "A0011", "センターが混み合い処理できませんでした", "The centre was too busy; nothing was processed",
        "時間をおいて業務をやり直してください", "Redo the procedure after a while",
    ),
    ResultCode(
        "A0012", "この業務の利用資格がありません", "The user is not qualified for this procedure",
        "契約内容を確認してください", "Check what the contract covers",
    ),
    ResultCode(
        "A0013", "送信元と電文の利用者が一致しません",
        "The sender and the user in the message do not belong together",
        "差出人メールアドレスと利用者コードを確認してください", "Check the From address and the user code",
    ),
    ResultCode(
        "A0014", "利用を停止された利用者です", "The user is barred",
        "利用契約事務課に連絡してください", "Call the contract office",
    ),
    ResultCode(
        "A0016", "共通項目の形式が正しくないか、システム識別がありません",
        "The form of the common items is wrong, or the system identification is missing",
        "共通項目の位置とシステム識別を確認してください",
        "Check the places of the common items and the system identification",
    ),
    ResultCode(
        "E0001", "処理できる入力長を超えています", "The input is longer than the procedure can process",
        "入力内容を減らしてください", "Send less in one message",
    ),
    ResultCode(
        "U0001", "利用者IDが正しくないか、仮パスワードが変更されていません",
        "The user ID is not valid, or its temporary password has not been changed",
        "利用者IDとパスワードを確認してください", "Check the user ID, and change the temporary password",
    ),
)  # fmt: skip

RESULT_CODES = {row.code: row for row in _TABLE}
CODE_KINDS = {kind.letter: kind for kind in _KINDS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """A result code for a person, in one language."""

    code: str  # five characters, or what was given where it cannot be read
    kind: str
    cause: str
    action: str
    item: str = ""  # abbreviation of the item meant; empty: none
    row: int = 0  # the repetition meant, from 1; 0: none


def describe(code: str, language: Language = "ja") -> Description:
    """What a code of 15 characters means, or of its first five; total: an unknown code has the texts of its kind."""
    found = _WRITTEN.fullmatch(code.rstrip(" "))
    if found is None:
        return _described(code, _UNKNOWN_KIND, _UNKNOWN_KIND, language)
    name, letter, item, row = found.groups()
    kind = CODE_KINDS.get(letter, _UNKNOWN_KIND)
    if letter == "0" and name != NORMAL:
        kind = _UNKNOWN_KIND
    texts = RESULT_CODES.get(name, kind)
    return _described(
        name, kind, texts, language, item="" if item in {None, NO_ITEM} else item.strip(), row=int(row or 0)
    )


def _described(
    code: str, kind: CodeKind, texts: ResultCode | CodeKind, language: Language, *, item: str = "", row: int = 0
) -> Description:
    japanese = language == "ja"
    return Description(
        code=code,
        kind=kind.name_ja if japanese else kind.name_en,
        cause=texts.cause_ja if japanese else texts.cause_en,
        action=texts.action_ja if japanese else texts.action_en,
        item=item,
        row=row,
    )


def result_code(code: str, item: str = NO_ITEM, row: int = 0) -> str:
    """The 15 characters of one code; the item abbreviation is filled with spaces to four."""
    if not _CODE.fullmatch(code) or not _ITEM.fullmatch(item) or not 0 <= row <= 9999:
        raise ValueError("a result code is a letter and four digits, an item of up to four characters and a row")
    return f"{code}-{item:<4}-{row:04d}"


NORMAL_END = result_code(NORMAL)
