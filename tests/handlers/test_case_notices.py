from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, timedelta
from email import message_from_bytes
from email.policy import default

import pytest
from sqlalchemy import select

from handlers import case_notices, case_tokens, notices
from handlers.applications.field_rules import FieldError
from handlers.applications.receipt_notices import Acceptance, send_received
from handlers.case_errors import send_errors
from handlers.case_history import EntryKind
from handlers.case_notices import ReminderKind
from handlers.notice_mail import NoticePart
from storage.mail_queue import content_of
from storage.models import Application, Contact, Line, Office, ScheduleDay, Work
from storage.store import new_key
from tests.handlers.applications.application_mails import mail_with
from tests.handlers.applications.receipt_cases import ADMINISTRATOR, CONTACT, application_mail, change_office, mail_to
from tests.handlers.review_cases import DESK, contents, line_change, notices_sent, receive, take_contracts

# What is asked of the words of a mail has the same answer in a store of either kind.
ONE_STORE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
HOSTILE = "evil\r\nBcc: victim@elsewhere.example\r\n\r\nbody\x1b[31m\u202e"


@pytest.fixture
def case(store, now):
    """An application of the office of the sample file."""
    take_contracts(store, now)
    receive(store, now)
    return store


def with_case(store, work):
    return store.run(lambda session: work(session, session.scalars(select(Application)).first()))


def parsed(raw):
    return message_from_bytes(raw, policy=default)


def mail(store, template, address):
    return parsed(mail_to(store, template, address))


def mails(store, ids):
    return [parsed(raw) for raw in store.read(lambda session: [content_of(session, mail_id) for mail_id in ids])]


def line_of(session):
    return session.scalars(select(Line)).first()


def some_work(session, now, **values):
    return Work(id=new_key(session), mode="remote", begins_at=now, ends_at=now + timedelta(hours=2), **values)


SENDERS = {
    "inquiry": lambda session, row, now: case_notices.send_inquiry(session, DESK, row, HOSTILE, now),
    "application-rejected": lambda session, row, now: case_notices.send_rejected(session, DESK, row, HOSTILE, now),
    "application-void": lambda session, row, now: case_notices.send_void(session, DESK, row, HOSTILE, None, now),
    "withdrawal-received": lambda session, row, now: case_notices.send_withdrawal_received(session, DESK, row, now),
    "settings-received": lambda session, row, now: case_notices.send_settings_received(session, DESK, row, now),
    "rescheduled": lambda session, row, now: case_notices.send_rescheduled(session, DESK, row, None, now),
    "work-schedule": lambda session, row, now: case_notices.send_work_schedule(
        session, DESK, row, some_work(session, now, contact=HOSTILE, note=HOSTILE, fee=HOSTILE), line_of(session), now
    ),
}


@ONE_STORE
@pytest.mark.parametrize("name", sorted(SENDERS))
def test_a_mail_goes_to_both_persons_each_with_a_token_and_a_salutation_of_their_own(case, now, name):
    ids = with_case(case, lambda session, row: SENDERS[name](session, row, now))
    assert notices_sent(case) == [(f"applicant/{name}", CONTACT), (f"applicant/{name}", ADMINISTRATOR)]
    for sent, person in zip(mails(case, ids), ("通関　花子", "管理　太郎"), strict=True):
        assert f"{person} 様" in sent.get_content().splitlines()[1]
    replies = [sent["Reply-To"].partition("@")[0] for sent in mails(case, ids)]
    for reply, to in zip(replies, (CONTACT, ADMINISTRATOR), strict=True):
        address = case_tokens.read_case(reply)
        assert address is not None
        assert case_tokens.is_of(address, DESK.token_key, to)
    assert len(set(replies)) == 2


@ONE_STORE
@pytest.mark.parametrize("name", sorted(SENDERS))
def test_hostile_words_and_names_make_no_header_and_hide_nothing(case, now, name):
    def be_hostile(office: Office) -> None:
        office.company_name = office.name = office.administrator_department = office.administrator_name = HOSTILE

    change_office(case, be_hostile)

    def send(session, row):
        row.applicant_name = row.applicant_department = HOSTILE
        return SENDERS[name](session, row, now)

    for sent in mails(case, with_case(case, send)):
        assert "Bcc" not in sent
        assert sent["To"] in (CONTACT, ADMINISTRATOR)
        body = sent.get_content()
        assert "\x1b" not in body
        assert "\u202e" not in body
        assert "[U+001B]" in body
        assert "\nBcc" not in body.partition("NACCSセンターの")[0], "the salutation keeps to its lines"


@ONE_STORE
def test_a_hostile_register_stops_no_acceptance(case, now):
    def be_hostile(office: Office) -> None:
        office.company_name = office.name = HOSTILE
        office.lines[0].site_option = HOSTILE

    change_office(case, be_hostile)

    def send(session, row):
        office = session.get_one(Office, row.office_id)
        acceptance = Acceptance(
            mail=application_mail(now),
            application=row,
            contents=contents(line_change(site_option="３階"), reason=HOSTILE, remarks=HOSTILE),
            office=office,
            lines={},
            open_cases=(),
        )
        return send_received(session, DESK, acceptance, now)

    assert len(mails(case, with_case(case, send))) == 3


@ONE_STORE
def test_a_bilingual_office_gets_both_languages_and_its_reviewer_one(case, now):
    change_office(case, lambda office: setattr(office, "bilingual", True))
    ids = with_case(case, lambda session, row: case_notices.send_inquiry(session, DESK, row, "何台ですか", now))
    ids += with_case(
        case,
        lambda session, row: case_notices.tell_reviewer(session, DESK, row, EntryKind.ANSWER, "２台です", CONTACT, now),
    )
    to_applicant, _, to_reviewer = mails(case, ids)
    assert to_applicant["Subject"] == "【NSS】利用申込の確認事項のお知らせ / A question about your application"
    japanese, english = to_applicant.get_content().split("=" * 72)
    assert "何台ですか" in japanese
    assert "(An English version follows below.)" in japanese
    assert "何台ですか" in english
    assert "Dear 通関　花子," in english
    assert " / " not in to_reviewer["Subject"]


@ONE_STORE
def test_a_test_system_says_so_in_subject_and_text(case, now):
    desk = replace(DESK, test_marks=True)
    ids = with_case(case, lambda session, row: case_notices.send_inquiry(session, desk, row, "何台ですか", now))
    for sent in mails(case, ids):
        assert sent["Subject"].startswith("【テスト】【NSS】")
        assert sent.get_content().startswith("【テスト】")


def test_administrators_who_share_the_line_learn_of_the_work_and_of_nothing_else(case, now):
    def share(session, row):
        line = line_of(session)
        line.shared_with = "CT0002 CT0003 CT0001"
        for number, email in ((2, "two@other.example"), (3, "")):
            session.add(
                Office(
                    id=new_key(session),
                    code=f"CT000{number}",
                    company_name="他社",
                    name="本店",
                    administrator_email=email,
                )
            )
        session.flush()
        work = some_work(session, now, contact="窓口", phone="0440000000", fee="30,000円")
        return case_notices.send_work_schedule(session, DESK, row, work, line, now)

    assert len(with_case(case, share)) == 3
    text = mail(case, "applicant/work-schedule", "two@other.example").get_content()
    assert "貴事業所が共用されている回線" in text
    assert "他社 本店" in text
    for others in ("通関", "ナックス商事", "30,000円", "工事立会者"):
        assert others not in text


@ONE_STORE
@pytest.mark.parametrize(
    ("spare_router", "mode", "said", "not_said"),
    [
        (True, "on_site", "予備ルータがあります", "予備ルータをお持ちの回線では"),
        (True, "remote", "予備ルータがあります", "別途の費用はかかりません"),
        (False, "remote", "予備ルータをお持ちの回線では", "予備ルータがあります"),
        (False, "on_site", "現地へ伺います", "予備ルータ"),
    ],
)
def test_a_line_with_a_spare_router_says_so_outright(case, now, spare_router, mode, said, not_said):
    def send(session, row):
        line = line_of(session)
        line.spare_router = spare_router
        work = some_work(session, now)
        work.mode = mode
        return case_notices.send_work_schedule(session, DESK, row, work, line, now)

    with_case(case, send)
    text = mail(case, "applicant/work-schedule", CONTACT).get_content()
    assert said in text
    assert not_said not in text


def test_a_reminder_counts_business_days_and_names_every_case(case, now):
    receive(case, now, receipt="260002A")

    def remind(session, _row):
        rows = session.scalars(select(Application).order_by(Application.id)).all()
        return case_notices.send_reminder(session, DESK, rows, ReminderKind.REVIEW_WAITING, now + timedelta(days=6))

    (sent,) = mails(case, with_case(case, remind))
    assert sent["Subject"] == "【NSS】審査待ちのお知らせ（260001A ほか1件）"
    assert sent["Reply-To"] == DESK.reviewer_address
    assert sent.get_content().count("（4営業日経過）") == 2


@ONE_STORE
def test_nobody_is_reminded_of_nothing(case, now):
    remind = lambda session, _row: case_notices.send_reminder(session, DESK, [], ReminderKind.WORK_NOT_DONE, now)  # noqa: E731
    assert with_case(case, remind) == []
    assert notices_sent(case) == []


@ONE_STORE
@pytest.mark.parametrize("kind", list(EntryKind))
def test_the_reviewer_can_be_told_of_anything_that_happens_to_a_case(case, now, kind):
    tell = lambda session, row: case_notices.tell_reviewer(session, DESK, row, kind, HOSTILE, HOSTILE, now)  # noqa: E731
    (sent,) = mails(case, with_case(case, tell))
    assert sent["To"] == DESK.reviewer_address
    assert "（260001A CT0001）" in sent["Subject"]


@ONE_STORE
@pytest.mark.parametrize(
    ("send", "name"),
    [(case_notices.send_schedule, "schedule"), (case_notices.send_blank_form, "blank-form")],
)
@pytest.mark.parametrize(
    ("address", "salutation"), [(CONTACT.upper(), "通関　花子 様"), ("new@elsewhere.example", "ご担当者 様")]
)
def test_who_asks_for_form_or_schedule_is_addressed_as_the_register_knows_them(
    case, now, send, name, address, salutation
):
    asked = replace(application_mail(now), raw=b"From: <%s>\r\nMessage-ID: <9@x.example>\r\n\r\n" % address.encode())
    rows = [ScheduleDay(start_on=date(2026, 12, 14), apply_by=date(2026, 12, 4))]
    parts = (NoticePart(file_name="様式.txt", main_type="text", subtype="plain", content="【申込内容】\n"),)
    given = (parts, rows) if name == "blank-form" else (rows,)
    ids = case.run(lambda session: send(session, DESK, asked, *given, now))
    (sent,) = mails(case, ids)
    assert sent["To"].lower() == address.lower()
    assert sent["Auto-Submitted"] == "auto-replied"
    assert sent["In-Reply-To"] == "<9@x.example>"
    text = sent.get_body(preferencelist=("plain",)).get_content()
    assert salutation in text
    assert "システム登録日 2026年12月14日（申込締切日 2026年12月4日）" in text


def test_an_address_of_two_offices_is_nobody_in_particular(case, now):
    def add(session, _row):
        other = Office(id=new_key(session), code="CT0009", company_name="他社", name="本店")
        session.add(other)
        session.flush()
        session.add(Contact(id=new_key(session), office_id=other.id, name="通関　花子", email=CONTACT))

    known = case.read(lambda session: notices.person_of(session, CONTACT))
    assert known is not None
    with_case(case, add)
    assert case.read(lambda session: notices.person_of(session, CONTACT)) is None
    assert case.read(lambda session: notices.person_of(session, "")) is None
    assert case.read(lambda session: notices.person_of(session, "ｘ@b.example")) is None
    administrator = case.read(lambda session: notices.person_of(session, ADMINISTRATOR))
    assert administrator is not None
    assert administrator.administrator


@ONE_STORE
def test_files_go_with_a_mail_as_what_they_are(case, now):
    papers = (
        NoticePart(file_name="承認通知.pdf", subtype="pdf", content=b"%PDF-1.7 \x00\xff"),
        NoticePart(file_name="様式.txt", main_type="text", subtype="plain", content="【申込内容】\n"),
    )

    def send(session, row):
        person = notices.both(row, session.get_one(Office, row.office_id))[0]
        return case_notices.send_status_report(session, DESK, row, person, now, documents=papers)

    (sent,) = mails(case, with_case(case, send))
    pdf, text = sent.iter_attachments()
    assert (pdf.get_content_type(), pdf.get_filename()) == ("application/pdf", "承認通知.pdf")
    assert pdf.get_content() == b"%PDF-1.7 \x00\xff"
    assert (text.get_content_type(), text.get_content_charset()) == ("text/plain", "utf-8")
    assert text.get_content().replace("\r\n", "\n") == "【申込内容】\n"
    assert "・承認通知.pdf" in sent.get_body(preferencelist=("plain",)).get_content()


@ONE_STORE
def test_an_unregistered_notice_address_is_named_to_the_administrator_until_a_reviewer_accepted_it(case, now):
    def ask(session, row):
        row.applicant_email = "not-registered@applicant.example"
        return case_notices.send_inquiry(session, DESK, row, "何台ですか", now)

    own, copy = (sent.get_content() for sent in mails(case, with_case(case, ask)))
    assert "このお知らせの宛先のE-mailアドレスは、貴事業所の登録連絡先にありません" in unfolded(own)
    assert "審査担当者がアドレスを認めるまで" in unfolded(own)
    assert "申込担当者の次のE-mailアドレスは、貴事業所の登録連絡先にありません" in unfolded(copy)

    def accepted(session, row):
        row.address_accepted = True
        return ask(session, row)

    for sent in mails(case, with_case(case, accepted)):
        assert "登録連絡先にありません" not in unfolded(sent.get_content())


def unfolded(text: str) -> str:
    return "".join(line.strip() for line in text.splitlines())


@pytest.mark.parametrize("address", ["not-registered@applicant.example", "Not-Registered@Applicant.Example"])
def test_every_mail_to_an_unregistered_address_that_invites_a_reply_says_that_it_will_be_kept(case, now, address):
    def report(session, row):
        row.applicant_email = "not-registered@applicant.example"
        office = session.get_one(Office, row.office_id)
        people = [notices.Addressee(email=address, name="通関"), notices.contact(office, office.contacts[0])]
        sent = [case_notices.send_status_report(session, DESK, row, person, now) for person in people]
        mail = application_mail(now, mail_with(""))
        errors = [FieldError(**{field.name: "x" for field in fields(FieldError)})]
        sent += [[send_errors(session, DESK, row, mail, person, errors, now)] for person in people]
        return [key for keys in sent for key in keys]

    texts = [sent.get_body(("plain",)).get_content() for sent in mails(case, with_case(case, report))]
    kept = ["登録連絡先にありません" in unfolded(text) for text in texts]
    assert kept == [True, False, True, False]
    assert "Replies from it are only kept" in " ".join(texts[2].split())
