from __future__ import annotations

import json
from datetime import date

import pytest

from handlers.applications.checks import Accepted, FileRole, Invalid
from handlers.applications.contents import ApplicationContents
from handlers.applications.form_values import filled, form_blocks
from tests.handlers.applications.application_mails import (
    DIAGRAM,
    FORM,
    accepted,
    broken_places,
    form_with,
    mail_with,
    read,
    workbook,
)

SECOND = "【回線・論理端末】\nルータ番号: 09200\n申込内容: 変更\n工事希望日: 20261214\n削除する論理端末名: 25131M\n"


@pytest.fixture
def base() -> ApplicationContents:
    form = form_with({"変更申込の備考/備考": "平日の日中に連絡してください"})
    return accepted(mail_with(form, [(DIAGRAM, workbook()), ("委任状.pdf", b"%PDF")])).contents


@pytest.fixture
def two_lines() -> ApplicationContents:
    return accepted(mail_with(FORM.replace("【以上】", f"{SECOND}【以上】"))).contents


def amendment(text: str, files=()) -> bytes:
    return mail_with(f"【修正】\n{text}", list(files), subject="Re: 利用申込受付完了のお知らせ")


def amended(base: ApplicationContents, text: str, files=(), **options) -> ApplicationContents:
    return accepted(amendment(text, files), base=base, **options).contents


def changes(before: ApplicationContents, after: ApplicationContents) -> set[str]:
    old, new = before.model_dump(exclude={"warnings"}), after.model_dump(exclude={"warnings"})
    return {key for key in old if old[key] != new[key]}


class TestWhatIsWritten:
    def test_it_alone_is_replaced(self, base):
        after = amended(base, "【申込担当者】\n役職名: 課長\n電話番号: 0312345678\n")
        assert changes(base, after) == {"applicant"}
        assert (after.applicant.title, after.applicant.phone, after.applicant.name) == (
            "課長", "0312345678", "通関　花子",
        )  # fmt: skip

    def test_a_label_that_one_section_alone_has_needs_no_heading(self, base):
        after = amended(base, "役職名: 課長\n変更する理由: 一\n二\n工事立会者 電話番号:\n")
        assert changes(base, after) == {"applicant", "reason"}
        assert after.reason == "一\n二"

    def test_a_label_that_several_have_needs_one(self, base):
        assert broken_places(amendment("備考: 土曜も可\n役職名: ﾁｰﾌ\n"), base=base) == [
            "/備考: amendment_place",
            "申込担当者/役職名: full_width",
        ]
        assert amended(base, "【変更申込の備考】\n備考: 土曜も可\n").remarks == "土曜も可"

    def test_an_empty_value_changes_nothing_and_a_word_empties_a_field(self, base):
        after = amended(base, "【変更申込の備考】\n備考: (空欄)\n【申込担当者】\n役職名:\n所属部課名: （空欄）\n")
        assert (after.remarks, after.applicant.title, after.applicant.department) == (None, "係長", None)
        assert broken_places(amendment("【申込担当者】\n電話番号: （空欄）\n"), base=base) == [
            "申込担当者/電話番号: required"
        ]

    def test_a_name_in_one_piece_replaces_both_parts(self, base):
        assert amended(base, "【申込担当者】\n氏名: 髙﨑 次郎\n").applicant.name == "髙﨑　次郎"

    def test_a_label_twice_is_told(self, base):
        assert broken_places(amendment("【申込担当者】\n役職名: 課長\n役職名: 部長\n"), base=base) == [
            "申込担当者/役職名: repeated"
        ]

    def test_quoted_text_never_counts(self, base):
        text = "> 【申込担当者】\n> 役職名: 課長\n"
        assert broken_places(amendment(text), base=base) == ["/メール本文: amendment_empty"]

    def test_a_json_attachment_amends_as_well(self, base):
        files = [("application.json", json.dumps({"applicant": {"title": "課長"}}).encode())]
        after = amended(base, "添付のとおりです。", files)
        assert changes(base, after) == {"applicant"}

    def test_another_address_has_to_be_confirmed(self, base):
        one = "【申込担当者】\nE-mailアドレス（登録用）: jiro@applicant.example\n"
        assert broken_places(amendment(one), base=base) == ["申込担当者/E-mailアドレス（確認用）: email_differs"]
        both = f"{one}E-mailアドレス（確認用）: jiro@applicant.example\n"
        assert amended(base, both).applicant.email == "jiro@applicant.example"

    def test_another_attendant_and_back(self, base):
        other = amended(
            base,
            "【回線工事】\n工事立会者: その他\n工事立会者 氏名: 航空 三郎\n"
            "工事立会者 氏名（フリガナ）: コウクウ サブロウ\n"
            "工事立会者 電話番号: 0301234567\n",
        )
        assert other.attendant is not None
        assert other.attendant.person is not None
        again = amended(other, "【回線工事】\n工事立会者: 工事事務担当者に同じ\n")
        assert again.attendant == base.attendant


class TestWhatIsNot:
    def test_it_is_not_judged_again(self, base):
        after = amended(base, "【申込担当者】\n役職名: 課長\n", today=date(2027, 1, 4))
        assert after.desired_start_date == date(2026, 12, 14)

    def test_rules_over_several_fields_see_the_whole(self, base):
        assert broken_places(amendment("【回線・論理端末】\nSMTPサーバ台数（SMTP双方向）: 3\n"), base=base) == [
            "回線・論理端末/メールアドレス数（SMTP双方向）: too_few_addresses"
        ]
        text = "【回線・論理端末】\nSMTPサーバ台数（SMTP双方向）: 3\nメールアドレス数（SMTP双方向）: （空欄）\n"
        assert amended(base, text).lines[0].addresses_of_new_servers == (1, 1, 1)

    def test_the_date_of_work_follows_the_start_date_where_it_stood_for_it(self, base):
        outcome = read(amendment("【申込内容】\n利用開始日: 20261221\n"), base=base)
        assert isinstance(outcome, Accepted)
        assert outcome.contents.lines[0].construction_date == date(2026, 12, 21)
        assert "construction_date_replaced" not in [entry.code for entry in outcome.warnings]


class TestWhole:
    @pytest.mark.parametrize(
        "text", ["よろしくお願いします。", "【申込担当者】\n役職名:\n", "【申込担当者】\n役職名: 係長\n"]
    )
    def test_an_amendment_that_amends_nothing_is_told(self, base, text):
        code = "amendment_empty" if "【" not in text else "amendment_no_change"
        assert broken_places(amendment(text), base=base) == [f"/メール本文: {code}"]

    def test_the_office_stays(self, base):
        outcome = read(amendment("【申込内容】\n事業所コード: CT0002\n"), base=base)
        assert isinstance(outcome, Invalid)
        assert [(error.code, error.example) for error in outcome.errors] == [("amendment_office", "CT0001")]

    def test_an_unreadable_amendment_is_of_the_office_all_the_same(self, base):
        outcome = read(amendment("x"), base=base)
        assert isinstance(outcome, Invalid)
        assert outcome.office_code == "CT0001"

    def test_an_item_may_be_added_and_taken_away(self, base):
        items = "一般NACCS端末の登録情報（追加・削除）\n請求先担当者"
        more = amended(base, f"【申込内容】\n契約変更項目: {items}\n【請求先担当者】\n変更前: 甲\n変更後: 乙\n")
        assert [change.code for change in more.item_changes] == ["billing_contact"]
        less = amended(more, "【申込内容】\n契約変更項目: 請求先担当者\n")
        assert (less.lines, less.diagram, less.work_contact) == ((), None, None)
        assert less.item_changes == more.item_changes
        assert broken_places(
            amendment("【申込内容】\n契約変更項目: 料金プラン（プランまたはプランの選択）\n"), base=more
        ) == [
            "料金プラン（プランまたはプランの選択）/変更前: required",
            "料金プラン（プランまたはプランの選択）/変更後: required",
        ]


class TestFiles:
    def test_the_diagram_of_before_counts_as_attached(self, base):
        after = amended(base, "【申込担当者】\n役職名: 課長\n")
        assert after.diagram == base.diagram
        assert after.files == base.files

    def test_a_new_workbook_replaces_the_diagram_even_alone(self, base):
        outcome = read(amendment("【システム構成図】\n", [("新.xlsx", workbook(9))]), base=base)
        assert isinstance(outcome, Accepted)
        assert [(entry.role, entry.file.name) for entry in outcome.attachments] == [(FileRole.DIAGRAM, "新.xlsx")]
        assert outcome.contents.diagram is not None
        assert outcome.contents.diagram.name == "新.xlsx"

    def test_further_files_are_added_and_one_of_the_same_name_replaced(self, base):
        files = [("委任状.pdf", b"%PDF-2"), ("一覧.pdf", b"%PDF")]
        after = amended(base, "【添付ファイル】\n添付ファイル名: 委任状.pdf\n一覧.pdf\n", files)
        assert [(file.name, file.size) for file in after.files] == [("委任状.pdf", 6), ("一覧.pdf", 4)]

    def test_a_file_that_is_named_must_come_or_have_come(self, base):
        text = "【申込担当者】\n役職名: 課長\n【添付ファイル】\n添付ファイル名: 委任状.pdf\n一覧.pdf\n"
        outcome = read(amendment(text), base=base)
        assert isinstance(outcome, Invalid)
        assert [(error.code, error.given) for error in outcome.errors] == [("file_not_attached", "一覧.pdf")]
        text = "【システム構成図】\n添付ファイル名: 新.xlsx\n"
        assert broken_places(amendment(text), base=base) == ["システム構成図/添付ファイル名: diagram_missing"]


class TestLines:
    def test_blocks_meet_by_their_router_number(self, two_lines):
        after = amended(
            two_lines,
            "【回線・論理端末】\nルータ番号: 09200\n削除する論理端末名: （空欄）\n論理端末数（インタラクティブ）: 1\n",
        )
        assert after.lines[0] == two_lines.lines[0]
        assert (after.lines[1].terminals_to_delete, after.lines[1].interactive_terminals) == ((), 1)

    def test_without_a_number_they_meet_by_their_place(self, two_lines):
        after = amended(two_lines, "【回線・論理端末】\n論理端末数（インタラクティブ）: 2\n")
        assert [line.interactive_terminals for line in after.lines] == [2, None]

    def test_the_only_line_may_be_given_another_number(self, base):
        after = amended(base, "【回線・論理端末】\nルータ番号: 09200\n")
        assert [line.router_number for line in after.lines] == ["09200"]

    def test_what_meets_none_is_a_line_more_and_must_be_whole(self, base, two_lines):
        first = "【回線・論理端末】\nルータ番号: 09143\n論理端末数（インタラクティブ）: 1\n"
        after = amended(base, first + SECOND)
        assert [line.router_number for line in after.lines] == ["09143", "09200"]
        assert broken_places(amendment(f"{first}【回線・論理端末】\nルータ番号: 09200\n"), base=base) == [
            "回線・論理端末（2）/申込内容: required",
            "回線・論理端末（2）/工事希望日: required",
            "回線・論理端末（2）/SMTPサーバ台数（SMTP双方向）: nothing_asked",
        ]

    def test_a_line_that_is_to_be_added_after_all_has_no_number(self, base):
        text = (
            "【申込内容】\n契約変更項目: 一般NACCS回線の登録情報（追加・変更・廃止）\n"
            "【回線・論理端末】\n申込内容: 追加\n区分: 共用\n接続方式: 一般\nEDIFACTの要否: 否\n接続種別: 専用線\n"
            "アクセス速度: 128kbps\n屋内配線工事: 自社手配\n保守時間帯: 平日\n他事業所と共用: なし\n"
        )
        line = amended(base, text).lines[0]
        assert (line.action, line.router_number, line.smtp_servers) == ("追加", "", 1)


class TestValues:
    def test_a_filled_form_is_read_back_to_the_same_application(self, two_lines):
        text = "".join(
            f"【{section}】\n" + "".join(f"{label}: {value}\n" for label, value in values.items())
            for (section, _), values in filled(two_lines).items()
        )
        email = two_lines.applicant.email
        text = text.replace("【回線", f"【申込担当者】\nE-mailアドレス（確認用）: {email}\n【回線", 1)
        assert accepted(mail_with(text)).contents == two_lines

    def test_values_stand_under_the_labels_of_the_form(self, base):
        values = filled(base)
        assert list(values) == [
            (name, 1)
            for name in (
                "申込内容",
                "申込担当者",
                "回線・論理端末",
                "システム構成図",
                "回線工事",
                "変更申込の備考",
                "添付ファイル",
            )
        ]
        assert values["申込内容", 1]["利用開始日"] == "20261214"
        assert values["申込内容", 1]["契約変更項目"] == "一般NACCS端末の登録情報（追加・削除）"
        assert values["回線・論理端末", 1]["SMTPサーバ台数（SMTP双方向）"] == "1"
        assert "FAX番号" not in values["申込担当者", 1]
        assert "E-mailアドレス（確認用）" not in values["申込担当者", 1]

    def test_what_was_not_asked_for_has_no_section(self, base):
        bare = base.model_copy(
            update={"lines": (), "diagram": None, "work_contact": None, "remarks": None, "files": ()}
        )
        assert [block.section.key for block in form_blocks(bare)] == ["application", "applicant"]

    def test_items_without_a_screen_have_their_own(self, base):
        other = "【申込内容】\n契約変更項目: 請求先担当者\n【請求先担当者】\n変更前: 甲\n変更後: 乙\n"
        assert filled(amended(base, other))["請求先担当者", 1] == {"変更前": "甲", "変更後": "乙"}
