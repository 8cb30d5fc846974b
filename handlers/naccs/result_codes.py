"""Result codes of the system common kind (A) and the two of every procedure that the gateway may meet.

A code on the wire is 15 bytes: code, item abbreviation, row number (NACCS EDI 5.2, result-code help). The
texts are for people: portal, command line and operator mails.
"""

from __future__ import annotations

import re
from typing import NamedTuple

CODE_WIDTH = 15
CODES_PER_RESULT = 5
NO_ITEM = "0000"
NORMAL = "00000"

_CODE = re.compile(r"[A-Z0-9][0-9]{4}")
_ITEM = re.compile(r"[A-Z0-9 ]{1,4}")


class ResultCode(NamedTuple):
    """A code with its cause and what the sender does about it, in Japanese and English."""

    code: str
    cause_ja: str
    cause_en: str
    action_ja: str
    action_en: str


_TABLE = (
    ResultCode(
        "A0001", "業務コードがありません", "The procedure code does not exist",
        "業務コードを確認してください", "Check the procedure code",
    ),
    ResultCode(
        "A0002", "この業務は現在利用できません", "The procedure cannot be used at present",
        "再開のお知らせを待って送信してください", "Send it again once its return is announced",
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


def result_code(code: str, item: str = NO_ITEM, row: int = 0) -> str:
    """The 15 characters of one code; the item abbreviation is filled with spaces to four."""
    if not _CODE.fullmatch(code) or not _ITEM.fullmatch(item) or not 0 <= row <= 9999:
        raise ValueError("a result code is a letter and four digits, an item of up to four characters and a row")
    return f"{code}-{item:<4}-{row:04d}"


NORMAL_END = result_code(NORMAL)
