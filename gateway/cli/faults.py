"""What a fault of an imported file says to the operator, and how a command that refuses a file shows them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from gateway.cli import Invocation, print_json

if TYPE_CHECKING:
    from handlers.contract_faults import Fault

# What a fault says, in Japanese and English; `value` is what stands there or collides.
FAULTS: dict[str, tuple[str, str]] = {
    "toml": ("TOMLとして読めません: {value}", "is no TOML: {value}"),
    "missing": ("必ず書く項目です", "must be given"),
    "unknown_key": ("知らない項目です", "unknown key"),
    "text": ("引用符で囲んだ文字列で書きます（{value}）", "must be text in quotes, not {value}"),
    "true_or_false": ("true か false で書きます（{value}）", "must be true or false, not {value}"),
    "list": ("[ ] の一覧、または [[ ]] の見出しで書きます", "must be a list, or a heading in [[ ]]"),
    "table": ("[ ] の見出しで書きます", "must be a table, a heading in [ ]"),
    "one_line": (
        "空や改行は使えず、長さに限りがあります（{value}）",
        "must be one line of text, not empty and not too long: {value}",
    ),
    "office_code": ("半角の英大文字と数字、8文字以内です（{value}）", "up to 8 capitals and digits, not {value}"),
    "router_number": ("半角の数字、10桁以内です（{value}）", "up to 10 digits, not {value}"),
    "lan_subnet": (
        "10.20.13.0/24 のようなネットワークです（{value}）",
        "must be a network such as 10.20.13.0/24, host bits zero, not {value}",
    ),
    "ip_address": ("IPアドレスではありません（{value}）", "is no IP address: {value}"),
    "outside_lan": (
        "回線のLAN {value} で端末が使えるアドレスではありません",
        "is not an address a terminal of the line's LAN {value} can have",
    ),
    "port": ("1から65535までの数です（{value}）", "must be a number from 1 to 65535, not {value}"),
    "terminal_name": ("半角の英大文字と数字、6文字です（{value}）", "6 capitals and digits, not {value}"),
    "terminal_address": (
        "64文字以内の半角のメールアドレスです（{value}）",
        "must be a mail address of at most 64 characters, not {value}",
    ),
    "mail_address": ("メールアドレスではありません（{value}）", "is no mail address: {value}"),
    "phone": (
        "0で始まる半角の数字10桁か11桁です（{value}）",
        "10 or 11 digits beginning with 0, no hyphen, not {value}",
    ),
    "user_code": ("半角の英大文字と数字、5文字です（{value}）", "5 capitals and digits, not {value}"),
    "identification_number": ("半角の英大文字と数字、3文字です（{value}）", "3 capitals and digits, not {value}"),
    "password": ("半角の英数字と記号、8文字以内です", "up to 8 printable half-width characters"),
    "contract_password": ("半角の英数字と記号、8文字以上です", "at least 8 printable half-width characters"),
    "procedure": ("業務コードか * です（{value}）", "must be a procedure code or *, not {value}"),
    "codec": (
        "euc_jp、cp51932、eucjp_ms のいずれかです（{value}）",
        "must be euc_jp, cp51932 or eucjp_ms, not {value}",
    ),
    "check": ("検査の名前ではありません（{value}）", "is no name of a check: {value}"),
    "service_hours": (
        "08:30-19:00 のような時間帯、または空です（{value}）",
        "must be hours such as 08:30-19:00, or empty, not {value}",
    ),
    "repeated": ("{value} と同じ値です", "has the same value as {value}"),
    "other_office": ("事業所 {value} のものです", "belongs to office {value}"),
    "taken": ("{value} が使っているか、休止期間中です", "is in use by {value}, or rests after use"),
    "no_office": ("事業所 {value} はありません", "there is no office {value}"),
    "no_line": ("ルータ番号 {value} の回線はありません", "there is no line {value}"),
    "no_terminal": ("論理端末 {value} はありません", "there is no terminal {value}"),
    "no_address": ("登録されたことのないメールアドレスです", "was never registered"),
    "line_taken": ("{value} はほかの回線のものです", "{value} is another line's"),
    "lan_taken": (
        "LAN {value} はほかの回線と重なります。重ねられるのは、どちらも他事業所と共用する回線だけです",
        "the LAN {value} is another line's too; only lines that are both shared with other offices have one",
    ),
    "name_used": (
        "論理端末名 {value} は使われたことがあり、再び使えません",
        "the terminal name {value} was used before and is never used again",
    ),
    "not_begun": ("利用は {value} からです", "is in use from {value} on only"),
    "ends_already": ("{value} に終わるか、すでに終わっています", "ends, or ended, on {value}"),
    "today_only": (
        "{value} からにはできません。すぐに変わるため、その日に実行してください",
        "cannot wait until {value}: it changes at once, so run it on that day",
    ),
    "unchanged": ("変わるところがありません", "is so already"),
    "exhausted": ("{value} に空きがありません", "nothing is free any more in {value}"),
    "unknown_table": ("表の名前ではありません（{value}）", "is none of the tables {value}"),
    "csv": ("CSVとして読めません: {value}", "is no CSV with the right columns: {value}"),
    "output_code": (
        "半角の英大文字と数字、7文字以内です。先頭は * も使えます（{value}）",
        "up to 7 capitals and digits, the first may be *, not {value}",
    ),
    "date": ("2026-04-01 のような日付です（{value}）", "must be a date such as 2026-04-01, not {value}"),
    "ends_before_it_begins": ("開始日 {value} より後の日です", "must be after its first day {value}"),
    "after_registration": (
        "システム登録日 {value} より後の日にはできません",
        "must not be after the registration day {value}",
    ),
    "in_the_past": ("過ぎた日です（{value}）", "has passed: {value}"),
    "unknown_address": (
        "その日に使われているメールアドレスではありません（{value}）",
        "is no mail address of the map on that day: {value}",
    ),
    "overlap": (
        "同じ宛先が {value} に登録されています",
        "the same destination is registered for {value}",
    ),
}


# What is wrong in itself, whatever the register says: given on the command line, the command was called wrongly.
_WRONG_IN_ITSELF = frozenset(
    {
        "ip_address",
        "lan_subnet",
        "mail_address",
        "missing",
        "office_code",
        "one_line",
        "output_code",
        "port",
        "router_number",
        "terminal_address",
        "terminal_name",
        "user_code",
    }
)


def exit_status(faults: Sequence[Fault]) -> int:
    """The status of a command whose options have faults: 2 when one of them can never be right, else 1."""
    return 2 if any(fault.rule in _WRONG_IN_ITSELF for fault in faults) else 1


def show_faults(running: Invocation, faults: tuple[Fault, ...], *, as_json: bool) -> None:
    """Every fault with its place, on standard error; as JSON on standard output too."""
    told = [(fault, _sentence(running, fault)) for fault in faults]
    if as_json:
        print_json({"faults": [{"place": fault.place, "rule": fault.rule, "text": text} for fault, text in told]})
    for fault, text in told:
        typer.echo(f"{fault.place}: {text}" if fault.place else text, err=True)


def _sentence(running: Invocation, fault: Fault) -> str:
    ja, en = FAULTS[fault.rule]
    return running.text(ja=ja, en=en).format(value=fault.value)
