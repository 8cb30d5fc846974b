from __future__ import annotations

import tomllib
from dataclasses import asdict
from datetime import date

import pytest

from handlers.applications.checks import Accepted, FileRole, Invalid
from handlers.applications.contents import ItemChange
from handlers.applications.field_rules import ApplicationLimits, RuleContext, broken_rule, rule_codes
from handlers.applications.form_layout import form_layout
from handlers.applications.items import all_items
from tests.handlers.applications.application_mails import (
    DIAGRAM,
    FILE_KINDS,
    FORM,
    MAILS,
    OFFICE,
    TODAY,
    accepted,
    binary_workbook,
    broken_places,
    form_with,
    inbound,
    macro_workbook,
    mail_with,
    read,
    workbook,
)

WRONG = tomllib.loads((MAILS / "wrong-applications.toml").read_text(encoding="utf-8"))["case"]


def wrong_mail(case) -> bytes:
    form = form_with(case.get("set"), case.get("drop", ()))
    for old, new in case.get("replace", {}).items():
        assert old in form
        form = form.replace(old, new)
    form = form.replace("【以上】", f"{case.get('after', '')}【以上】")
    files = case.get("files")
    return mail_with(form, None if files is None else [(name, FILE_KINDS[kind]()) for kind, name in files])


def test_the_sample_form_is_accepted_without_a_warning():
    outcome = accepted(mail_with())
    assert outcome.warnings == ()
    contents = outcome.contents
    assert contents.items == ("naccs_terminals",)
    assert contents.desired_start_date == date(2026, 12, 14)
    assert contents.applicant.name == "通関　花子"
    assert contents.applicant.fax is None
    assert contents.lines[0].smtp_servers == 1
    assert contents.lines[0].addresses_of_new_servers == (1,)
    assert contents.work_contact is not None
    assert contents.work_contact.kana == "センパク　ジロウ"
    assert contents.attendant is not None
    assert contents.attendant.same_as_contact
    assert contents.diagram is not None
    assert contents.diagram.name == DIAGRAM
    assert [(entry.role, entry.file.name) for entry in outcome.attachments] == [(FileRole.DIAGRAM, DIAGRAM)]


def test_there_are_at_least_sixty_wrong_forms_with_names_of_their_own():
    assert len(WRONG) >= 60
    assert len({case["name"] for case in WRONG}) == len(WRONG)


@pytest.mark.parametrize("case", WRONG, ids=[case["name"] for case in WRONG])
def test_a_wrong_form_brings_exactly_these_errors(case):
    assert broken_places(wrong_mail(case)) == case["errors"]


@pytest.mark.parametrize("case", WRONG, ids=[case["name"] for case in WRONG])
def test_every_example_an_error_prints_passes_its_own_rule(case):
    outcome = read(wrong_mail(case))
    assert isinstance(outcome, Invalid)
    context = RuleContext(today=TODAY, limits=ApplicationLimits(), office=OFFICE)
    for error in outcome.errors:
        if not error.section:
            continue
        section = next(s for s in form_layout().sections if error.section.startswith(s.name))
        spec = next(field for field in section.fields if field.label == error.label)
        if error.example:
            assert broken_rule(spec, error.example, context) is None
        else:  # leave it empty: only a field that may be, or one no example can be known for
            assert not spec.required or error.code in ("office_unknown", "item_not_chosen")


def test_the_wrong_forms_break_every_rule_that_has_words():
    broken = {place.rpartition(": ")[2] for case in WRONG for place in case["errors"]}
    of_the_mail = {"unreadable_charset", "broken_mime", "no_text", "text_too_long"}  # test_mail.py
    in_numbers = {"long_text", "too_many_lines"}  # limits, tested below and in test_field_rules.py
    asked_only = {"file_name", "file_names", "item_change"}  # what a required field is told to hold
    elsewhere = {"mail_encrypted"}  # test_form_sources.py
    elsewhere |= {code for code in rule_codes() if code.startswith(("json_", "amendment_"))}  # modules of their own
    assert rule_codes() - broken == of_the_mail | in_numbers | asked_only | elsewhere


@pytest.mark.parametrize("case", WRONG, ids=[case["name"] for case in WRONG])
def test_errors_say_everything_in_both_languages(case):
    outcome = read(wrong_mail(case))
    assert isinstance(outcome, Invalid)
    for error in outcome.errors:
        words = asdict(error)
        assert all(words[key] for key in ("label", "rule_ja", "rule_en", "action_ja", "action_en"))
        assert "{" not in "".join(words.values())


def test_a_required_field_is_told_with_what_it_has_to_hold():
    outcome = read(mail_with(form_with({"申込担当者/電話番号": ""})))
    assert isinstance(outcome, Invalid)
    assert "ハイフンなし" in outcome.errors[0].rule_ja
    assert "without hyphens" in outcome.errors[0].rule_en


def test_an_invalid_application_names_its_office_only_when_it_is_registered():
    known = read(mail_with(form_with({"申込担当者/電話番号": "1"})))
    unknown = read(mail_with(form_with({"申込内容/事業所コード": "ZZ9999"})))
    assert isinstance(known, Invalid)
    assert isinstance(unknown, Invalid)
    assert (known.office_code, unknown.office_code) == ("CT0001", None)


def test_a_very_long_value_is_cut_in_the_error():
    outcome = read(mail_with(form_with({"申込担当者/役職名": "x" * 5000})))
    assert isinstance(outcome, Invalid)
    assert len(outcome.errors[0].given) == 301


def test_a_date_example_is_a_coming_day_of_the_schedule():
    schedule = frozenset({date(2026, 11, 2), date(2026, 12, 7), date(2026, 12, 21)})
    outcome = read(mail_with(form_with({"申込内容/利用開始日": "x"})), schedule=schedule)
    assert isinstance(outcome, Invalid)
    assert outcome.errors[0].example == "20261207"


class TestWarnings:
    def codes(self, raw: bytes, **options) -> list[str]:
        return [entry.code for entry in accepted(raw, **options).warnings]

    def test_a_start_off_the_schedule_is_accepted_with_a_warning(self):
        assert self.codes(mail_with(), schedule=frozenset({date(2026, 12, 21)})) == ["off_schedule"]
        assert self.codes(mail_with(), schedule=frozenset({date(2026, 12, 14)})) == []

    def test_a_start_today_is_accepted_with_the_warning_even_without_a_schedule(self):
        form = FORM.replace("20261214", "20261124")
        assert self.codes(mail_with(form)) == ["off_schedule"]

    def test_where_only_terminals_change_the_date_of_work_becomes_the_start_date(self):
        outcome = accepted(mail_with(form_with({"回線・論理端末/工事希望日": "20261210"})))
        line = outcome.contents.lines[0]
        assert line.construction_date == date(2026, 12, 14)
        assert line.construction_date_given == date(2026, 12, 10)
        assert [entry.code for entry in outcome.warnings] == ["construction_date_replaced"]
        assert "2026年12月10日" in outcome.warnings[0].text_ja

    def test_text_that_belongs_to_no_label_is_told(self):
        form = FORM.replace("【システム構成図】\n", "【システム構成図】\n添付いたします。\n")
        outcome = accepted(mail_with(form))
        assert [entry.code for entry in outcome.warnings] == ["stray_text"]
        assert "添付いたします。" in outcome.warnings[0].text_ja

    def test_a_terminal_nothing_is_asked_for_is_told(self):
        assert self.codes(mail_with(form_with({"回線・論理端末/対象の論理端末名": "60777S"}))) == ["target_not_used"]

    def test_a_file_that_is_not_listed_is_taken_and_told(self):
        outcome = accepted(mail_with(files=[(DIAGRAM, workbook()), ("委任状.pdf", b"%PDF")]))
        assert [entry.code for entry in outcome.warnings] == ["unlisted_file"]
        assert [file.name for file in outcome.contents.files] == ["委任状.pdf"]
        assert [entry.role for entry in outcome.attachments] == [FileRole.DIAGRAM, FileRole.OTHER]

    def test_a_file_that_is_listed_needs_no_warning(self):
        form = form_with({"添付ファイル/添付ファイル名": "委任状.pdf"})
        assert self.codes(mail_with(form, [(DIAGRAM, workbook()), ("委任状.pdf", b"%PDF")])) == []


class TestCounts:
    def line(self, values: dict[str, str], **options):
        form = form_with({f"回線・論理端末/{label}": value for label, value in values.items()})
        return accepted(mail_with(form), **options).contents.lines[0]

    def test_without_a_number_of_addresses_each_server_gets_one(self):
        counts = {"SMTPサーバ台数（SMTP双方向）": "3", "メールアドレス数（SMTP双方向）": ""}
        assert self.line(counts).addresses_of_new_servers == (1, 1, 1)

    def test_the_number_for_each_server_is_a_setting(self):
        counts = {"SMTPサーバ台数（SMTP双方向）": "2", "メールアドレス数（SMTP双方向）": ""}
        limits = ApplicationLimits(addresses_per_new_server=2)
        assert self.line(counts, limits=limits).addresses_of_new_servers == (2, 2)

    def test_more_addresses_than_servers_go_to_the_first_new_terminal(self):
        counts = {"SMTPサーバ台数（SMTP双方向）": "2", "メールアドレス数（SMTP双方向）": "5"}
        assert self.line(counts).addresses_of_new_servers == (4, 1)

    def test_addresses_without_a_server_go_to_the_terminal_they_are_for_and_need_no_diagram(self):
        values = {
            "回線・論理端末/SMTPサーバ台数（SMTP双方向）": "",
            "回線・論理端末/メールアドレス数（SMTP双方向）": "2",
            "回線・論理端末/対象の論理端末名": "60777S",
            "システム構成図/添付ファイル名": "",
        }
        contents = accepted(mail_with(form_with(values), [])).contents
        assert contents.diagram is None
        line = contents.lines[0]
        assert (line.target_terminal, line.addresses_for_target, line.addresses_of_new_servers) == ("60777S", 2, ())

    def test_terminals_may_be_deleted_one_a_line(self):
        values = {"削除する論理端末名": "25130M\n27264C", "SMTPサーバ台数（SMTP双方向）": ""}
        line = self.line(values | {"メールアドレス数（SMTP双方向）": ""})
        assert line.terminals_to_delete == ("25130M", "27264C")
        assert line.addresses_for_target == 0

    def test_the_greatest_count_is_a_setting(self):
        form = form_with({"回線・論理端末/論理端末数（インタラクティブ）": "12"})
        assert isinstance(read(mail_with(form)), Accepted)
        assert isinstance(read(mail_with(form), limits=ApplicationLimits(greatest_count=11)), Invalid)

    def test_several_lines_are_read_apart(self):
        second = (
            "【回線・論理端末】\nルータ番号: 09200\n申込内容: 変更\n工事希望日: 20261214\n削除する論理端末名: 25131M\n"
        )
        contents = accepted(mail_with(FORM.replace("【以上】", f"{second}【以上】"))).contents
        assert [line.router_number for line in contents.lines] == ["09143", "09200"]
        assert contents.lines[1].terminals_to_delete == ("25131M",)

    def test_lines_beyond_the_limit_are_one_error(self):
        block = FORM[FORM.index("【回線・論理端末】") : FORM.index("【システム構成図】")]
        raw = mail_with(FORM.replace("【以上】", f"{block * 5}【以上】"))
        outcome = read(raw, limits=ApplicationLimits(most_lines=2))
        assert isinstance(outcome, Invalid)
        assert [(error.section, error.code) for error in outcome.errors] == [
            ("回線・論理端末（2）", "router_repeated"),
            ("回線・論理端末（3）", "too_many_lines"),
        ]

    def test_a_line_given_twice_is_told_another_line_of_the_office(self):
        second = FORM[FORM.index("【回線・論理端末】") : FORM.index("【システム構成図】")]
        outcome = read(mail_with(FORM.replace("【以上】", f"{second}【以上】")))
        assert isinstance(outcome, Invalid)
        assert outcome.errors[0].example == "09200"


class TestDiagram:
    def test_the_file_named_in_the_form_is_the_diagram_whatever_it_is_called(self):
        form = form_with({"システム構成図/添付ファイル名": "東京.xls"})
        files = [("東京.xls", binary_workbook()), (DIAGRAM, workbook())]
        contents = accepted(mail_with(form, files)).contents
        assert contents.diagram is not None
        assert contents.diagram.name == "東京.xls"

    def test_without_a_name_the_file_called_diagram_is_taken(self):
        form = form_with({"システム構成図/添付ファイル名": ""})
        files = [("一覧.xlsx", workbook()), ("新システム構成図.xlsx", workbook()), ("システム構成図.pdf", b"%PDF")]
        contents = accepted(mail_with(form, files)).contents
        assert contents.diagram is not None
        assert contents.diagram.name == "新システム構成図.xlsx"

    def test_without_a_name_the_only_workbook_is_taken(self):
        form = form_with(drop=["システム構成図/添付ファイル名"])
        contents = accepted(mail_with(form, [("Book1.XLSX", workbook()), ("memo.txt", b"x")])).contents
        assert contents.diagram is not None
        assert contents.diagram.name == "Book1.XLSX"

    def test_a_link_in_a_signature_is_no_link_in_place_of_the_file(self):
        form = FORM.replace("【申込内容】", "https://applicant.example/\n【申込内容】")
        assert broken_places(mail_with(form, [])) == ["システム構成図/添付ファイル名: diagram_missing"]


class TestForm:
    def test_another_attendant_is_read(self):
        values = {
            "回線工事/工事立会者": "その他",
            "回線工事/工事立会者 氏名（姓）": "航空",
            "回線工事/工事立会者 氏名（名）": "三郎",
            "回線工事/工事立会者 氏名（フリガナ・姓）": "コウクウ",
            "回線工事/工事立会者 氏名（フリガナ・名）": "サブロウ",
            "回線工事/工事立会者 電話番号": "0301234567",
            "回線工事/備考": "裏口から",
        }
        contents = accepted(mail_with(form_with(values))).contents
        assert contents.attendant is not None
        assert contents.attendant.person is not None
        assert contents.attendant.person.name == "航空　三郎"
        assert contents.work_remarks == "裏口から"

    def test_a_joined_name_fills_both_parts(self):
        form = form_with(
            drop=[
                "申込担当者/氏名（姓）",
                "申込担当者/氏名（名）",
                "申込担当者/氏名（フリガナ・姓）",
                "申込担当者/氏名（フリガナ・名）",
            ]
        )
        joined = "【申込担当者】\n氏名: 髙﨑　花子\n氏名（フリガナ）: タカサキ ハナコ\n"
        applicant = accepted(mail_with(form.replace("【申込担当者】\n", joined))).contents.applicant
        assert (applicant.family_name, applicant.given_name) == ("髙﨑", "花子")
        assert applicant.kana == "タカサキ　ハナコ"

    def test_a_signature_with_labels_is_not_read(self):
        signature = "-- \n通関 花子\n電話番号: 03-0123-4567\nE-mail: other@applicant.example\n"
        form = FORM.replace("【以上】\n", "")
        assert accepted(mail_with(form + signature)).contents.applicant.phone == "0120794550"
        assert accepted(mail_with(FORM + signature.removeprefix("-- \n"))).contents.applicant.phone == "0120794550"

    def test_a_confirmation_may_differ_in_the_case_of_its_domain(self):
        form = form_with({"申込担当者/E-mailアドレス（確認用）": "tsukan-hanako@APPLICANT.example "})
        assert accepted(mail_with(form)).contents.applicant.email == "tsukan-hanako@applicant.example"

    def test_values_are_never_folded(self):
        form = form_with({"申込内容/変更する理由": "ｻｰﾊﾞＡＢＣ①㈱のため", "変更申込の備考/備考": "Ａ－１"})
        contents = accepted(mail_with(form)).contents
        assert contents.reason == "ｻｰﾊﾞＡＢＣ①㈱のため"
        assert contents.remarks == "Ａ－１"

    def test_the_form_inside_a_quote_is_used_when_the_new_text_holds_none(self):
        quoted = "".join(f"> {line}\n" for line in FORM.splitlines())
        assert isinstance(read(mail_with(f"記入しました。\n\n{quoted}")), Accepted)

    def test_a_quoted_form_does_not_count_beside_a_new_one(self):
        quoted = "".join(f"> {line}\n" for line in FORM.replace("20261214", "20200101").splitlines())
        assert isinstance(read(mail_with(f"{FORM}\n{quoted}")), Accepted)

    def test_an_item_may_be_written_with_half_width_brackets_as_the_manual_prints_it(self):
        form = form_with({"申込内容/契約変更項目": "一般NACCS端末の登録情報(追加・削除)"})
        assert accepted(mail_with(form)).contents.items == ("naccs_terminals",)

    def test_an_item_brings_what_its_section_says(self):
        form = FORM.replace("契約変更項目: ", "契約変更項目: 請求先担当者\n")
        form = form.replace("【以上】", "【請求先担当者】\n変更前: 通関　花子\n変更後: 通関　太郎\n【以上】")
        contents = accepted(mail_with(form)).contents
        assert contents.items == ("billing_contact", "naccs_terminals")
        assert contents.item_changes == (ItemChange(code="billing_contact", before="通関　花子", after="通関　太郎"),)
        assert len(contents.lines) == 1

    def test_an_item_without_lines_asks_for_no_line_diagram_or_work(self):
        contents = accepted(mail_with(item_form("請求先担当者", "通関　花子", "通関　太郎"), [])).contents
        assert (contents.lines, contents.diagram, contents.work_contact, contents.attendant) == ((), None, None, None)


def item_form(name: str, before: str, after: str, *, other: bool = False) -> str:
    """The form with one item in place of everything that lines and terminals need."""
    items = {
        "申込内容/契約変更項目": "" if other else name,
        "申込内容/その他の契約変更": "あり" if other else "なし",
        "申込内容/その他の契約変更 内容": name if other else "",
    }
    form = form_with(items)
    for first, last in (
        ("【回線・論理端末】", "【システム構成図】"),
        ("【システム構成図】", "【回線工事】"),
        ("【回線工事】", "【変更申込の備考】"),
    ):
        form = form[: form.index(first)] + form[form.index(last) :]
    return form.replace("【以上】", f"【{name}】\n変更前: {before}\n変更後: {after}\n【以上】")


@pytest.mark.parametrize(
    "item", [item for item in all_items().values() if item.has_section], ids=lambda item: item.code
)
def test_every_item_without_a_screen_is_taken_alone(item):
    outcome = accepted(mail_with(item_form(item.name, item.before, item.after, other=item.other), []))
    contents = outcome.contents
    assert [chosen.code for chosen in contents.chosen_items] == [item.code]
    assert contents.item_changes == (ItemChange(code=item.code, before=item.before, after=item.after),)
    codes = [entry.code for entry in outcome.warnings]
    assert codes == [
        *(["inquiry_needed"] if item.inquiry else []),
        *item.warnings,
        *(["line_location"] if item.code == "office_names" else []),
    ]


def test_all_items_that_may_stand_together_do():
    ordinary = [item for item in all_items().values() if not item.other]
    names = "\n".join(item.name for item in ordinary)
    sections = "".join(
        f"【{item.name}】\n変更前: {item.before}\n変更後: {item.after}\n" for item in ordinary if item.has_section
    )
    form = form_with({"申込内容/契約変更項目": names, "添付ファイル/添付ファイル名": "委任状.pdf"})
    raw = mail_with(form.replace("【以上】", f"{sections}【以上】"), [(DIAGRAM, workbook()), ("委任状.pdf", b"%PDF")])
    outcome = accepted(raw)
    assert len(outcome.contents.items) == 20
    assert len(outcome.contents.item_changes) == 17
    assert outcome.contents.needs_system_settings
    assert [entry.code for entry in outcome.warnings] == ["all_offices", "line_location", "attached_files"]
    assert "企業名" in outcome.warnings[0].text_ja
    assert "本社情報" in outcome.warnings[0].text_ja


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [("通関業", "通関業、輸出者", True), ("外為法関連業務", "なし", True), ("通関業", "倉庫業", False)],
)
def test_who_exports_is_told_where_the_application_goes(before, after, told):
    outcome = accepted(mail_with(item_form("利用業種（追加・変更・削除）", before, after), []))
    assert [entry.code for entry in outcome.warnings] == (["export_control"] if told else [])


class TestLines:
    ITEMS = "一般NACCS回線の登録情報（追加・変更・廃止）\n一般NACCS端末の登録情報（追加・削除）"
    COLUMNS = (
        "区分: 共用\n接続方式: 一般\nEDIFACTの有無: 要\n接続種別: 専用線\nアクセス速度: 128kbps\n"
        "屋内配線工事: 自社手配\n保守時間帯: 平日\n他事業所と共用: なし\n"
    )

    def form(self, *blocks: str, items: str = ITEMS) -> str:
        form = form_with({"申込内容/契約変更項目": items})
        start, end = form.index("【回線・論理端末】"), form.index("【システム構成図】")
        return form[:start] + "".join(f"【回線・論理端末】\n{block}" for block in blocks) + form[end:]

    def test_a_line_is_added_changed_and_cancelled_in_one_application(self):
        form = self.form(
            f"申込内容: 追加\n{self.COLUMNS}工事希望日: 20261210\nSMTPサーバ台数（SMTP双方向）: 2\n",
            "ルータ番号: 09143\n申込内容: 変更\nアクセス速度: 256kbps\n工事希望日: 20261211\n",
            "ルータ番号: 09200\n申込内容: 廃止\n工事希望日: 20261212\n削除する論理端末名: 25131M\n",
        )
        outcome = accepted(mail_with(form))
        assert outcome.warnings == ()
        new, changed, cancelled = outcome.contents.lines
        assert (new.action, new.router_number, new.smtp_servers, new.addresses_of_new_servers) == (
            "追加",
            "",
            2,
            (1, 1),
        )
        assert len(new.columns) == 8
        assert new.site_option is None
        assert (new.needs_edifact, new.is_shared) == (True, False)
        assert changed.columns == {"access_speed": "256kbps"}
        assert cancelled.terminals_to_delete == ()
        assert [line.construction_date.day for line in outcome.contents.lines] == [10, 11, 12]

    def test_lines_of_which_none_asks_for_a_terminal_are_told_so_where_terminals_are_to_change(self):
        form = self.form(
            "ルータ番号: 09200\n申込内容: 廃止\n工事希望日: 20261212\n",
            "ルータ番号: 09143\n申込内容: 変更\nアクセス速度: 256kbps\n工事希望日: 20261211\n",
        )
        assert broken_places(mail_with(form)) == ["回線・論理端末（2）/SMTPサーバ台数（SMTP双方向）: nothing_asked"]

    def test_a_line_alone_may_be_cancelled_and_a_new_one_bring_its_terminals(self):
        items = "一般NACCS回線の登録情報（追加・変更・廃止）"
        cancelled = self.form("ルータ番号: 09200\n申込内容: 廃止\n工事希望日: 20261212\n", items=items)
        new = self.form(
            f"申込内容: 追加\n{self.COLUMNS}工事希望日: 20261210\n論理端末数（インタラクティブ）: 1\n", items=items
        )
        assert accepted(mail_with(cancelled)).contents.lines[0].action == "廃止"
        assert accepted(mail_with(new)).contents.lines[0].interactive_terminals == 1

    @pytest.mark.parametrize(("column", "needed"), [("保守時間帯: 終日", False), ("アクセス速度: 256kbps", True)])
    def test_a_diagram_is_needed_where_the_configuration_changes(self, column, needed):
        items = "一般NACCS回線の登録情報（追加・変更・廃止）"
        form = self.form(f"ルータ番号: 09143\n申込内容: 変更\n{column}\n工事希望日: 20261211\n", items=items)
        outcome = read(mail_with(form.replace("添付ファイル名: システム構成図.xlsx", "添付ファイル名:"), []))
        assert isinstance(outcome, Invalid) == needed

    def test_whoever_moves_with_a_line_and_says_where_to_is_not_warned(self):
        items = "企業名、事業所名、所在地等\n一般NACCS回線の登録情報（追加・変更・廃止）"
        form = self.form(
            "ルータ番号: 09143\n申込内容: 変更\n設置場所オプション: 横浜市中区１丁目\n工事希望日: 20261211\n",
            items=items,
        )
        form = form.replace("【以上】", "【企業名、事業所名、所在地等】\n変更前: 東京都\n変更後: 横浜市\n【以上】")
        outcome = accepted(mail_with(form))
        assert outcome.contents.lines[0].site_option == "横浜市中区１丁目"
        assert [entry.code for entry in outcome.warnings] == ["all_offices"]


def test_a_diagram_that_refers_to_other_files_is_taken_and_told():
    outcome = accepted(mail_with(files=[(DIAGRAM, macro_workbook("xl/externalLinks/externalLink1.xml"))]))
    assert [entry.code for entry in outcome.warnings] == ["diagram_external_links"]
    assert DIAGRAM in outcome.warnings[0].text_ja


def test_inline_pictures_are_no_files_of_the_application():
    raw = mail_with(files=[(DIAGRAM, workbook()), ("logo.png", b"\x89PNG")])
    logo = raw.index(b'filename="logo.png"')
    start = raw.rindex(b"Content-Disposition: attachment", 0, logo)
    raw = raw[:start] + raw[start:].replace(
        b"Content-Disposition: attachment", b"Content-ID: <1>\r\nContent-Disposition: inline", 1
    )
    assert [attachment.inline for attachment in inbound(raw).attachments] == [False, True]
    assert accepted(raw).contents.files == ()


def test_an_office_without_lines_is_told_so_without_an_example():
    office = OFFICE.__class__(office_code="CT0001")
    from handlers.applications.checks import read_application

    outcome = read_application(inbound(mail_with()), {"CT0001": office}.get, today=TODAY)
    assert isinstance(outcome, Invalid)
    assert [(error.code, error.example) for error in outcome.errors] == [("router_unknown", "")]
