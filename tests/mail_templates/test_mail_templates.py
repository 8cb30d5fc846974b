"""Every notice: rendered with all it needs, refused without any of it, within its columns, and as reviewed."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from handlers.desk import SupportDesk
from handlers.notice_templates import preload, render, template_names
from handlers.notices import Addressee, Case, Support
from handlers.outcomes import TemplateFault
from handlers.text_columns import MAIL_COLUMNS, columns
from tests.mail_templates.template_lint import ENGLISH, JAPANESE, asked, items, languages
from tests.mail_templates.template_values import VALUES

STANDING: dict[str, Any] = {
    "addressee": Addressee(
        email="kanri@applicant.example",
        company="株式会社" + "とても長い名前の" * 10 + "商事",
        office="第一営業部" * 8,
        department="総務部",
        name="管理　太郎",
        administrator=True,
        bilingual=True,
    ),
    "support": Support(
        domain="nss.center.example",
        from_address="nss@nss.center.example",
        apply_address="apply@nss.center.example",
        portal_url="https://nss.center.example/",
        package_url="https://nss.center.example/package",
        desks=(SupportDesk(name="ヘルプデスク", phone="0120-000-000", hours="平日 9:00~18:00"),) * 2,
        test_system=True,
    ),
    "bilingual": True,
    "case": Case(
        receipt_number="260001A",
        received_on=date(2026, 11, 24),
        desired_start_date=date(2026, 12, 14),
        start_date=date(2026, 12, 15),
        applicant_name="通関　花子",
        applicant_email=f"{'a' * 64}@{'b' * 60}.example",
        address_unknown=True,
    ),
}


LANGUAGES = [(name, bilingual) for name in template_names() for bilingual in (False, True)]
LANGUAGES = [(name, bilingual) for name, bilingual in LANGUAGES if name.startswith("applicant/") or not bilingual]


def complete_values(name):
    return {**STANDING, **VALUES[name]}


def rendered(name, *, bilingual=False, **values):
    return render(name, {**complete_values(name), **values, "bilingual": bilingual}, bilingual=bilingual)


@pytest.mark.parametrize(("name", "bilingual"), LANGUAGES)
def test_a_notice_is_rendered_when_everything_is_given(name, bilingual):
    notice = rendered(name, bilingual=bilingual)
    assert notice.subject.startswith("【NSS】")
    assert (" / " in notice.subject) is bilingual
    assert notice.template.startswith(f"{name}@")
    assert len(notice.template) <= 64


@pytest.mark.parametrize(("name", "bilingual"), LANGUAGES)
def test_a_subject_is_one_line(name, bilingual):
    subject = rendered(name, bilingual=bilingual).subject
    assert subject == subject.strip()
    assert len(subject.splitlines()) == 1


@pytest.mark.parametrize(("name", "bilingual"), LANGUAGES)
def test_no_line_is_wider_than_76_columns(name, bilingual):
    body = rendered(name, bilingual=bilingual).body
    wide = [line for line in body.splitlines() if columns(line) > MAIL_COLUMNS]
    assert wide == []


@pytest.mark.parametrize(
    ("name", "missing"), [(name, key) for name in template_names() for key in sorted(VALUES[name])]
)
def test_a_missing_variable_sends_nothing(name, missing):
    values = complete_values(name)
    del values[missing]
    with pytest.raises(TemplateFault, match=missing):
        render(name, values, bilingual=name.startswith("applicant/"))


@pytest.mark.parametrize("name", template_names())
def test_the_values_of_the_tests_are_all_that_a_template_asks_for(name):
    assert asked(name) == VALUES[name].keys()


@pytest.mark.parametrize("name", [name for name in template_names() if name.startswith("applicant/")])
def test_an_applicant_mail_has_an_english_text_of_the_same_items(name):
    assert languages(name) == (JAPANESE, ENGLISH)
    assert items(name, JAPANESE) == items(name, ENGLISH)


def test_templates_are_compiled_beforehand():
    preload()
    assert "applicant/application-received" in template_names()


def test_an_unknown_notice_is_a_fault():
    with pytest.raises(TemplateFault, match="no such template"):
        render("applicant/no-such-notice", STANDING)


def test_a_line_without_a_spare_router_names_the_condition_and_one_with_it_says_so_outright():
    name = "applicant/application-received"
    assert "ルータ番号 09143 の回線には予備ルータがあります" in rendered(name).body
    without = [replace(line, spare_router=False) for line in VALUES[name]["lines"]]
    plain = rendered(name, lines=without).body
    assert "予備ルータをお持ちの回線では" in plain
    assert "予備ルータがあります" not in plain


def joined(text):
    """The text without its line ends and indents, for sentences that were folded."""
    return re.sub(r"\n *", "", text)


COPIED = [name for name in template_names() if name.startswith("applicant/") and "application-" not in name]
COPIED = [name for name in COPIED if name.rpartition("/")[2] not in ("amendment-invalid", "blank-form", "schedule")]
COPIED = [name for name in COPIED if not name.endswith("status-report")] + ["applicant/application-received"]


@pytest.mark.parametrize("name", COPIED)
def test_an_administrator_is_told_why_a_copy_comes_and_an_applicant_is_not(name):
    copy = joined(rendered(name).body)
    assert "システム管理責任者の方にもお送りしています" in copy
    assert "登録連絡先にありません" in copy
    own = joined(rendered(name, addressee=replace(STANDING["addressee"], administrator=False)).body)
    assert "システム管理責任者の方にもお送りしています" not in own
    assert "登録連絡先にありません" not in own


def test_a_reviewer_is_told_of_an_unknown_office_and_of_an_office_that_was_not_told():
    values = complete_values("reviewer/application-waiting")
    unknown = render("reviewer/application-waiting", {**values, "office_code": "", "told": 0})
    assert unknown.subject == "【NSS】申込メールの確認待ち（事業所不明）"
    assert "事業所が分からないため" in unknown.body
    silent = render("reviewer/application-waiting", {**values, "told": 0})
    assert "1時間以内にお知らせしているか" in silent.body


def test_the_version_of_a_notice_is_that_of_its_files():
    name = "applicant/application-held"
    versions = {render(other, complete_values(other)).template.partition("@")[2] for other in template_names()}
    assert len(versions) == len(template_names())
    again = render(name, complete_values(name)).template
    assert again == render(name, complete_values(name)).template


def test_instants_are_shown_in_japan():
    values = complete_values("operator/mail-parked")
    body = render("operator/mail-parked", {**values, "received": datetime(2026, 12, 31, 15, 5, tzinfo=UTC)}).body
    assert "受信日時 : 2027年1月1日 0:05" in body
