from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes
from email.policy import default

import pytest
from sqlalchemy import func, select, update

from handlers import case_tokens, notices
from handlers.notices import Addressee, Notice
from handlers.outcomes import TemplateFault
from storage.mail_queue import content_of
from storage.models import Application, Mail, Office, Recipient
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT, change_office, queued
from tests.handlers.review_cases import DESK, receive, take_contracts
from tests.mail_templates.template_values import VALUES

PARKED = "operator/mail-parked"
REVIEW_COMPLETE = "applicant/review-complete"


def parked_notice(**values):
    notice = Notice(name=PARKED, to=notices.operator(DESK), context=VALUES[PARKED])
    return replace(notice, **values)


def send(store, notice, now, desk=DESK):
    return store.run(lambda session: notices.send(session, desk, notice, now))


def sent(store, mail_id):
    """The mail row, its one recipient, and the parsed mail."""

    def read(session):
        recipient = session.scalars(select(Recipient).where(Recipient.mail_id == mail_id)).one()
        mail = message_from_bytes(content_of(session, mail_id), policy=default)
        return session.get_one(Mail, mail_id), recipient, mail

    return store.read(read)


@pytest.fixture
def case(store, now):
    """An application of the office of the sample file."""
    take_contracts(store, now)
    receive(store, now)
    store.run(lambda session: session.execute(update(Application).values(start_date=now.date())))
    return store


def to_both(store, now, name=REVIEW_COMPLETE, **values):
    def work(session):
        application = session.scalars(select(Application)).one()
        return notices.send_to_both(session, DESK, application, name, {**VALUES[name], **values}, now)

    return store.run(work)


def test_a_notice_is_queued_as_a_mail_of_our_own(store, now):
    mail_id = send(store, parked_notice(), now)
    row, recipient, mail = sent(store, mail_id)
    assert (row.direction, row.listener, row.received_at) == ("outbound", "gateway", now)
    assert recipient.state == "queued"
    assert recipient.rcpt_to == mail["To"].addresses[0].addr_spec == DESK.operator_address
    assert mail["From"].addresses[0].display_name == "NACCSサポートシステム"
    assert mail["From"].addresses[0].addr_spec == DESK.from_address
    assert row.message_id == mail["Message-ID"] == f"<{mail_id}@nss.center.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content_charset() == "utf-8"


def test_the_mail_records_its_template_and_the_version(store, now):
    row, _, _ = sent(store, send(store, parked_notice(), now))
    name, _, version = row.template.partition("@")
    assert name == PARKED
    assert len(version) == 12


def test_delivery_reports_come_back_to_an_address_of_the_mail(store, now):
    mail_id = send(store, parked_notice(), now)
    row, recipient, _ = sent(store, mail_id)
    local_part, _, domain = recipient.sender.partition("@")
    assert row.mail_from == recipient.sender
    assert domain == "nss.center.example"
    assert case_tokens.read_bounce(DESK.token_key, local_part) == mail_id


def test_an_automatic_error_reply_has_a_null_sender(store, now):
    name = "applicant/application-invalid"
    notice = Notice(
        name=name,
        to=Addressee(email=CONTACT, name="ご担当者"),
        context=VALUES[name],
        thread="<1@applicant.example>",
    )
    row, recipient, mail = sent(store, send(store, notice, now))
    assert row.mail_from == recipient.sender == ""
    assert mail["Auto-Submitted"] == "auto-replied"
    assert mail["In-Reply-To"] == mail["References"] == "<1@applicant.example>"
    assert mail["Reply-To"] == "apply@nss.center.example"


def test_replies_go_where_the_notice_says(store, now):
    _, _, mail = sent(store, send(store, parked_notice(reply_to=DESK.operator_address), now))
    assert mail["Reply-To"] == DESK.operator_address


def test_mails_of_a_test_system_begin_with_its_mark(store, now):
    _, _, mail = sent(store, send(store, parked_notice(), now, replace(DESK, test_marks=True)))
    assert mail["Subject"].startswith("【テスト】【NSS】")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "operator/no-such-notice"},
        {"context": {}},
        {"context": {**VALUES[PARKED], "reason": "a\rb"}},
        {"context": {**VALUES[PARKED], "addressee": "somebody else"}},
        {"to": Addressee(email="a@b.example\r\nBcc: c@d.example", name="x")},
        {"to": Addressee(email="", name="x")},
        {"reply_to": "a@b.example\nX: y"},
        {"thread": "<a@b>\r\nX: y"},
    ],
)
def test_a_notice_that_cannot_be_written_sends_nothing(store, now, change):
    with pytest.raises(TemplateFault):
        send(store, parked_notice(**change), now)
    assert store.read(lambda session: session.scalar(select(func.count()).select_from(Mail))) == 0


def test_a_subject_of_two_lines_is_refused(store, now):
    with pytest.raises(TemplateFault, match="control character"):
        send(store, parked_notice(context={**VALUES[PARKED], "mail_id": "1\r\nBcc: other@elsewhere.example"}), now)


def test_both_persons_get_a_mail_of_their_own(case, now):
    first, second = to_both(case, now)
    _, _, to_applicant = sent(case, first)
    _, _, to_administrator = sent(case, second)
    assert queued(case) == [(REVIEW_COMPLETE, CONTACT), (REVIEW_COMPLETE, ADMINISTRATOR)]
    assert to_applicant.get_content().splitlines()[:2] == [
        "ナックス商事株式会社 第一営業部 第一営業部通関課",
        "通関　花子 様",
    ]
    assert to_administrator.get_content().splitlines()[:2] == [
        "ナックス商事株式会社 第一営業部 総務部",
        "管理　太郎 様",
    ]


def test_replies_of_each_person_carry_that_persons_token(case, now):
    for mail_id, email in zip(to_both(case, now), (CONTACT, ADMINISTRATOR), strict=True):
        _, _, mail = sent(case, mail_id)
        address = case_tokens.read_case(mail["Reply-To"].partition("@")[0])
        assert address is not None
        assert address.receipt_number == "260001A"
        assert case_tokens.is_of(address, DESK.token_key, email)


def test_a_notice_belongs_to_its_application(case, now):
    row, _, _ = sent(case, to_both(case, now)[0])
    assert row.application_id == case.read(lambda session: session.scalars(select(Application.id)).one())


def test_notices_of_a_case_form_one_thread(case, now):
    first, second = to_both(case, now)
    later = to_both(case, now)[0]
    _, _, root = sent(case, first)
    assert "References" not in root
    for mail_id in (second, later):
        _, _, mail = sent(case, mail_id)
        assert mail["References"] == mail["In-Reply-To"] == root["Message-ID"]


def test_notices_of_a_case_leave_by_one_lane_in_order(case, now):
    ids = [*to_both(case, now), *to_both(case, now)]
    rows = [sent(case, mail_id)[1] for mail_id in ids]
    assert len({row.lane for row in rows}) == 1
    assert [row.lane_sequence for row in rows] == [1, 2, 3, 4]


def test_notices_without_a_case_are_spread_by_recipient():
    lanes = [
        notices.lane_of(DESK, parked_notice(to=Addressee(email=f"{number}@applicant.example"))) for number in range(100)
    ]
    assert set(lanes) == {f"smarthost:{number}" for number in range(DESK.smarthost_lanes)}
    upper = parked_notice(to=Addressee(email="A@APPLICANT.EXAMPLE"))
    lower = parked_notice(to=Addressee(email="a@applicant.example"))
    assert notices.lane_of(DESK, upper) == notices.lane_of(DESK, lower)


def test_several_notices_lock_their_lanes_in_one_order(store, now):
    several = [parked_notice(to=Addressee(email=f"{number}@applicant.example")) for number in range(8)]
    ids = store.run(lambda session: notices.send_all(session, DESK, several, now))
    lanes = [sent(store, mail_id)[1].lane for mail_id in ids]
    assert lanes == sorted(lanes)


@pytest.mark.parametrize("email", [CONTACT, CONTACT.upper()])
def test_one_person_in_both_roles_gets_one_mail(case, now, email):
    def be_administrator(office: Office) -> None:
        office.administrator_email = email

    change_office(case, be_administrator)
    to_both(case, now)
    assert queued(case) == [(REVIEW_COMPLETE, CONTACT)]


@pytest.mark.parametrize("email", ["", "not an address", "kanri@applicant.example\r\nBcc: other@elsewhere.example"])
def test_without_a_usable_administrator_address_the_reviewer_is_told(case, now, email):
    def lose_address(office: Office) -> None:
        office.administrator_email = email

    change_office(case, lose_address)
    ids = to_both(case, now)
    assert queued(case) == [
        (REVIEW_COMPLETE, CONTACT),
        ("reviewer/no-administrator-address", DESK.reviewer_address),
    ]
    assert "review-complete" in sent(case, ids[1])[2].get_content()


def test_an_administrator_without_a_name_is_addressed_by_the_role(case, now):
    def lose_name(office: Office) -> None:
        office.administrator_name = ""

    change_office(case, lose_name)
    assert "システム管理責任者 様" in sent(case, to_both(case, now)[1])[2].get_content()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a@b.example", "A@B.Example", True),
        ("a@b.example", "b@b.example", False),
        ("ａ@b.example", "ａ@b.example", False),
        ("K@b.example", "\u212a@b.example", False),
    ],
)
def test_addresses_compare_in_ascii_without_case(one, other, same):
    assert notices.same_address(one, other) is same
