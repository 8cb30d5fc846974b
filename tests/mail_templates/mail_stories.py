"""What happens before each mail that is kept as a file: stories on a fixed day, told by the real handlers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import case_notices, desk_mail, lane_watch, notice_rates, notices, reviews, works
from handlers.applications import held_mails, receipt_notices, register
from handlers.applications.contents import ApplicationContents, ApplicationWarning, ItemChange, LineAction
from handlers.case_history import EntryKind
from handlers.case_notices import NotTaken, ReminderKind
from handlers.case_tokens import case_local_part
from handlers.desk_job_runs import FailingJob
from handlers.notice_mail import NoticePart
from handlers.notices import Notice
from handlers.reviews import Details, NewLine
from handlers.workflow import Event
from handlers.workflow import State as CaseState
from handlers.works import WorkMode, WorkOrder
from storage.batch import insert_statement
from storage.mail_queue import Origin, hash_of, mail_inserts
from storage.models import Application, Line, Office, Recipient, ScheduleDay, Work
from storage.states import Direction, State
from storage.store import Store, new_key
from tests.handlers.applications.application_mails import DIAGRAM, form_with, mail_with
from tests.handlers.applications.receipt_cases import (
    CONTACT,
    application_mail,
    change_office,
    take_in,
)
from tests.handlers.review_cases import (
    CALENDAR,
    DESK,
    WITH_SMTP_SERVER,
    contents,
    line_change,
    no_servers,
    receive,
)
from tests.handlers.watch_cases import (
    ALARM,
    LANE,
    add_down,
    add_messages,
    add_requests,
    take_terminal,
    watch_out,
)
from tests.mail_templates.case_stories import RECEIPT, begin, bilingual_offices, bring, desk_in
from tests.mail_templates.case_stories import application as case_of

NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 25, 3, 30, tzinfo=UTC)
STRANGER = "someone@elsewhere.example"
UNREGISTERED = "not-registered@applicant.example"

Story = Callable[[Store], None]

# Of a fixed size: the mails show it.
_WORKBOOK = Path(desk_mail.__file__).parents[1] / "gateway/sandbox/samples/system-diagram.xlsx"

_BUSY_FORM = {
    "申込内容/利用開始日": "20261124",
    "申込内容/変更する理由": "自社システムのSMTP双方向サーバを追加するため。\n二行目：a long English sentence, " * 3,
    "申込担当者/FAX番号": "0398765432",
    "申込担当者/E-mailアドレス（登録用）": UNREGISTERED,
    "申込担当者/E-mailアドレス（確認用）": UNREGISTERED,
    "回線・論理端末/論理端末数（インタラクティブ）": "2",
    "回線・論理端末/GWサーバ台数（SMTP/POP3）": "1",
    "回線・論理端末/SMTPサーバ台数（SMTP双方向）": "2",
    "回線・論理端末/メールアドレス数（SMTP双方向）": "3",
    "回線・論理端末/対象の論理端末名": "60777S",
    "回線・論理端末/削除する論理端末名": "27264C\n25130M",
    "回線工事/工事立会者": "その他",
    "回線工事/工事立会者 氏名（姓）": "航空",
    "回線工事/工事立会者 氏名（名）": "三郎",
    "回線工事/工事立会者 氏名（フリガナ・姓）": "コウクウ",
    "回線工事/工事立会者 氏名（フリガナ・名）": "サブロウ",
    "回線工事/工事立会者 電話番号": "0312345678",
    "回線工事/備考": "当日は9時以降に来訪してください",
    "変更申込の備考/備考": "平日の日中に連絡してください",
}
_WRONG_FORM = {
    "申込内容/利用開始日": "20200401",
    "申込担当者/氏名（名）": "",
    "申込担当者/電話番号": "0120-794-550",
    "回線・論理端末/ルータ番号": "99999",
    "回線・論理端末/SMTPサーバ台数（SMTP双方向）": "２",
}


SECOND_LINE = """
[[office.line]]
router_number = "09200"
class = "港湾"
connection = "一般"
edifact = false
line_type = "専用線"
access_speed = "128kbps"
wiring = "自社手配"
maintenance_hours = "平日"
shared_with_other_offices = false
lan_subnet = "127.20.20.0/24"
spare_router = false

[[office.line.terminal]]
name = "25131M"
class = "港湾"
equipment = "PC"
package = "メール"
"""
TWO_LINES = WITH_SMTP_SERVER.replace("\n[[office.user]]", SECOND_LINE + "\n[[office.user]]")
NEW_COLUMNS = {
    "line_class": "共用",
    "connection": "一般",
    "edifact": "否",
    "line_type": "専用線",
    "access_speed": "128kbps",
    "wiring": "自社手配",
    "maintenance_hours": "平日",
    "site_option": "東京都港区海岸１丁目１番１号　３階サーバ室",
    "shared_with_other_offices": "なし",
}
SHARING = """

[[office]]
code = "CT0002"
company_name = "ナックス物流株式会社"
company_abbreviation = "CTB"
name = "横浜営業所"
system_class = "共用"
customs_office = "横浜税関"
billing_code = "B000002"
contract_password = "change-me"

[office.administrator]
name = "物流　次郎"
kana = "ブツリュウ　ジロウ"
phone = "0450000000"
email = "butsuryu@other.example"
"""


def application(values: dict[str, str] | None = None, number: int = 1, **extra: Any) -> bytes:
    """An application mail with the sample workbook."""
    files = [(DIAGRAM, _WORKBOOK.read_bytes()), *extra.get("files", ())]
    raw = mail_with(form_with(values), files=files)
    return raw.replace(b"<1@applicant.example>", f"<{number}@applicant.example>".encode())


def received(store: Store) -> None:
    """The seed's application."""
    begin(store)
    take_in(store, application_mail(NOW, application()), NOW)


def received_with_everything(store: Store) -> None:
    """An application with every optional item, on a line with a spare router and another open case."""
    begin(store, WITH_SMTP_SERVER.replace("spare_router = false", "spare_router = true"))
    take_in(store, application_mail(NOW, application()), NOW)
    raw = application(_BUSY_FORM, number=2, files=[("回線図面.pdf", b"%PDF-1.7 " * 1000)])
    take_in(store, application_mail(NOW, raw), LATER)


def completed(store: Store) -> None:
    """The seed's application, completed."""
    received(store)
    store.run(lambda session: reviews.complete(session, DESK, "260001A", None, "os:reviewer", LATER, CALENDAR))


def wrong(store: Store) -> None:
    """An application with five wrong fields."""
    begin(store)
    take_in(store, application_mail(NOW, application(_WRONG_FORM)), NOW)


def from_a_stranger(store: Store) -> None:
    """A relayed mail whose author could not be verified."""
    begin(store)
    raw = application().replace(CONTACT.encode(), STRANGER.encode(), 1)
    take_in(store, application_mail(NOW, raw, trusted=False, peer="192.0.2.1", mail_from=STRANGER), NOW)


def reply_from_a_stranger(store: Store) -> None:
    """A relayed reply about a case, whose author could not be verified."""
    received(store)
    address = f"{case_local_part(DESK.token_key, RECEIPT, CONTACT)}@{DESK.support_domain}"
    raw = mail_with("【取下げ】\n取り下げます。\n", files=()).replace(b"<1@", b"<2@")
    raw = raw.replace(CONTACT.encode(), STRANGER.encode(), 1)
    mail = application_mail(LATER, raw, rcpt_to=address, trusted=False, peer="192.0.2.1", mail_from=STRANGER)
    store.run(lambda session: desk_mail.handle(session, mail, DESK, LATER))


def job_failing(store: Store) -> None:
    """A job of the clock that fails again and again."""
    job = FailingJob(receipt_number=RECEIPT, kind="begin_use", failures=5, reason="exhausted: 09143", next_try=LATER)
    notice = Notice(
        name="operator/job-failing",
        to=notices.operator(DESK),
        reply_to=DESK.operator_address,
        context={"jobs": (job,), "total": 1},
    )
    store.run(lambda session: notices.send(session, DESK, notice, NOW))


def parked(store: Store) -> None:
    """A mail to the postmaster, for a person to read."""
    mail = application_mail(NOW, mail_with("お尋ねします。\n"), rcpt_to=f"postmaster@{DESK.support_domain}")
    store.run(lambda session: desk_mail.handle(session, mail, DESK, NOW))


def without_administrator(store: Store) -> None:
    """An office whose register has no address of its administrator."""
    begin(store)

    def forget(office: Office) -> None:
        office.administrator_email = ""

    change_office(store, forget)
    take_in(store, application_mail(NOW, application()), NOW)


def overdue(store: Store) -> None:
    """One request of each kind without a result: in doubt, handed over, never handed over."""
    take_terminal(store, NOW)
    add_requests(store, NOW - timedelta(seconds=20))
    add_requests(store, NOW - timedelta(seconds=10), claimed_at=None, handover="00001:01-24100000", procedure="OTC")
    add_requests(store, NOW, in_doubt=True, handover="SYG20261124100000", input_number="2")
    watch_out(store, NOW + timedelta(seconds=175))


def overdue_by_the_dozen(store: Store) -> None:
    """More requests than a mail lists."""
    take_terminal(store, NOW)
    add_requests(store, NOW, 22)
    watch_out(store, NOW + timedelta(seconds=180))


def down(store: Store) -> None:
    """A terminal and the backend that do not answer."""
    add_down(store, LANE, NOW, next_try_at=NOW + timedelta(minutes=6))
    add_messages(store, LANE, 3, NOW, State.QUEUED)
    add_down(store, "backend", NOW + timedelta(minutes=4))
    store.run(lambda session: lane_watch.watch(session, DESK, NOW + timedelta(minutes=5), alarm_after=ALARM))


def gave_up(store: Store) -> None:
    """Messages for two terminals that waited for too long."""
    add_messages(store, LANE, 3, NOW)
    add_messages(store, "terminal:60001S", 12, NOW)
    store.run(lambda session: lane_watch.tell_gave_up(session, DESK, NOW))


def with_other_lines(store: Store) -> None:
    """An application that adds a line, changes one, cancels one, and changes the name of the office."""
    begin(store, TWO_LINES)
    said = contents(
        line_change(action=LineAction.ADD, router_number="", **NEW_COLUMNS),
        no_servers(router_number="09143", access_speed="1Gbps", edifact="要"),
        no_servers(router_number="09200", action=LineAction.CANCEL),
        items=("office_names", "naccs_lines", "naccs_terminals"),
        item_changes=(
            ItemChange(code="office_names", before="事業所名：第一営業部", after="事業所名：東京営業部\n（４月から）"),
        ),
        warnings=(
            ApplicationWarning(code="all_offices", text_ja="全事業所に反映されます。", text_en="For all offices."),
        ),
    )
    _tell_received(store, said)


def with_another_item(store: Store) -> None:
    """An application for one of the seven others, which asks for a prior inquiry; no line, no file."""
    begin(store)
    said = contents(
        items=(),
        other_items=("succession",),
        item_changes=(ItemChange(code="succession", before="ナックス商事株式会社", after="ナックス物流株式会社"),),
    )
    _tell_received(store, said.model_copy(update={"lines": ()}))


def _tell_received(store: Store, said: ApplicationContents) -> None:
    receive(store, NOW, said=said, sender_verdict="dkim applicant.example")

    def tell(session: Session) -> None:
        row = case_of(session)
        office = session.get_one(Office, row.office_id)
        acceptance = receipt_notices.Acceptance(
            mail=application_mail(NOW),
            application=row,
            contents=said,
            office=office,
            lines=register.line_facts(session, office, (line.router_number for line in said.lines), NOW.date()),
            open_cases=(),
        )
        receipt_notices.send_received(session, DESK, acceptance, LATER)

    store.run(tell)


def completed_with_every_change(store: Store) -> None:
    """Terminals added, changed and deleted, a line added, a line cancelled."""
    begin(store, TWO_LINES)
    said = contents(
        line_change(interactive_terminals=1, mail_addresses=2, addresses_of_new_servers=(2,)),
        no_servers(mail_addresses=1, target_terminal="60777S", terminals_to_delete=("25130M",)),
        line_change(action=LineAction.ADD, router_number="", **NEW_COLUMNS),
        no_servers(router_number="09200", action=LineAction.CANCEL),
        items=("naccs_lines", "naccs_terminals"),
    )
    receive(store, NOW, said=said)
    _complete(store, Details(new_lines=(NewLine(router_number="09300", lan_subnet="127.20.30.0/24"),)))


def void_with_every_change(store: Store) -> None:
    """The same, void before its start: a terminal that was there before goes on."""
    completed_with_every_change(store)
    words = "システム設定のお申し込みがありませんでした。"
    store.run(lambda session: case_notices.send_void(session, DESK, case_of(session), words, None, LATER))


def completed_without_terminals(store: Store) -> None:
    """An application that issues nothing."""
    begin(store)
    receive(store, NOW, said=contents(items=("billing_contact",)).model_copy(update={"lines": ()}))
    _complete(store, Details())


def _complete(store: Store, details: Details) -> None:
    def work(session: Session) -> None:
        decided = reviews.decide(session, DESK, RECEIPT, Event.COMPLETE, "os:reviewer", LATER, CALENDAR, details)
        assert isinstance(decided, reviews.Decided), decided

    store.run(work)


def amended_wrongly(store: Store) -> None:
    """A reply that amends a phone number with a wrong one."""
    received(store)
    address = f"{case_local_part(DESK.token_key, RECEIPT, CONTACT)}@{DESK.support_domain}"
    raw = mail_with("【修正】\n【申込担当者】\n電話番号: 03-1234\n", files=())
    mail = application_mail(LATER, raw.replace(b"<1@", b"<2@"), rcpt_to=address)
    store.run(lambda session: desk_mail.handle(session, mail, DESK, LATER))


def held_for_too_long(store: Store) -> None:
    """Two held mails that nobody released."""
    begin(store)
    raw = application().replace(CONTACT.encode(), STRANGER.encode(), 1)
    for _ in range(2):
        store.run(lambda session: _hold(session, raw))
    store.run(lambda session: held_mails.expire(session, DESK, NOW + DESK.held_for + timedelta(days=1)))


def keep_mail(session: Session, raw: bytes, mail_id: int) -> None:
    """The rows of a mail that came in at NOW, without a recipient."""
    origin = Origin(listener="public", peer="192.0.2.1", mail_from=STRANGER)
    connection = session.connection()
    for insert in mail_inserts(mail_id, Direction.INBOUND, origin, raw, hash_of(raw), None, NOW):
        connection.exec_driver_sql(insert_statement(insert.kind, 1, connection.dialect.name), insert.values)


def _hold(session: Session, raw: bytes) -> None:
    mail_id = new_key(session)
    keep_mail(session, raw, mail_id)
    session.add(
        Recipient(
            id=new_key(session),
            mail_id=mail_id,
            direction=Direction.INBOUND,
            rcpt_to=DESK.apply_address,
            state=State.HELD,
            created_at=NOW,
            due_at=NOW,
            finished_at=NOW,
            last_reply="the sender could not be verified",
        )
    )


def in_state(
    state: CaseState, *, not_taken: NotTaken | None = None, mark: str = "", papers: tuple[str, ...] = ()
) -> Story:
    """The status report of an application in that state, to a question or to a mark that was not taken."""

    def story(store: Store) -> None:
        with _desk() as desk:
            bring(store, desk, state)
        parts = tuple(NoticePart(file_name=name, subtype="pdf", content=b"%PDF-1.7") for name in papers)

        def report(session: Session) -> None:
            row = case_of(session)
            person = notices.both(row, session.get_one(Office, row.office_id))[0]
            case_notices.send_status_report(
                session, DESK, row, person, LATER, not_taken=not_taken, mark=mark, documents=parts
            )

        store.run(report)

    return story


def kept(state: CaseState, not_taken: NotTaken, mark: str, *, answered: bool = True) -> Story:
    """What the reviewer reads of a mail with a mark that changed nothing."""
    mail = case_notices.KeptMail(
        not_taken=not_taken,
        mark=mark,
        words="【申込担当者】\n電話番号: 0312345678" if mark == "修正" else "都合により、お願いします。",
        author=CONTACT,
        answered=answered,
    )

    def story(store: Store) -> None:
        with _desk() as desk:
            bring(store, desk, state)
        store.run(lambda session: case_notices.tell_not_taken(session, DESK, case_of(session), mail, LATER))

    return story


def by_a_machine(store: Store) -> None:
    """Forms that a list and a program sent, the second one of them while the reviewer had heard enough."""
    begin(store)
    raw = b"Precedence: bulk\r\n" + application()
    for _ in range(notice_rates.AT_ONCE):
        store.run(lambda session: notice_rates.told(session, "automatic-forms", NOW))
    _arrive(store, raw.replace(b"Precedence: bulk", b"List-Id: <brokers.lists.example>"), NOW)
    _arrive(store, raw, NOW + notice_rates.GAP)


def replied_by_a_machine(store: Store) -> None:
    """A withdrawal with a null sender."""
    received(store)
    address = f"{case_local_part(DESK.token_key, RECEIPT, CONTACT)}@{DESK.support_domain}"
    _arrive(store, mail_with("【取下げ】\n", files=()), LATER, rcpt_to=address, mail_from="")


def _arrive(store: Store, raw: bytes, now: datetime, **envelope: Any) -> None:
    mail = application_mail(now, raw, **envelope)
    store.run(lambda session: desk_mail.handle(session, mail, DESK, now))


def unchecked(store: Store) -> None:
    """In use for two business days, without a communication check."""
    _in_use(store, lambda session, row: case_notices.send_tcc_reminder(session, DESK, row, ["60000S", "27000C"], LATER))


def passwords_close(store: Store) -> None:
    """The last day of the password window."""
    _in_use(store, lambda session, row: case_notices.send_passwords_closing(session, DESK, row, LATER))


def _in_use(store: Store, send: Callable[[Session, Application], object]) -> None:
    with _desk() as desk:
        bring(store, desk, CaseState.IN_USE)
    store.run(lambda session: send(session, case_of(session)))


def news(what: EntryKind, words: str, author: str = CONTACT) -> Story:
    """Something about a case that the reviewer is told of beside the events."""

    def story(store: Store) -> None:
        with _desk() as desk:
            bring(store, desk, CaseState.UNDER_REVIEW)
        store.run(
            lambda session: case_notices.tell_reviewer(session, DESK, case_of(session), what, words, author, LATER)
        )

    return story


def reminded(kind: ReminderKind, count: int = 1) -> Story:
    """Applications that wait since a Tuesday, on the Monday after it."""

    def story(store: Store) -> None:
        begin(store)
        for number in range(1, count + 1):
            receive(store, NOW, receipt=f"26{number:04d}A", taken_by="os:reviewer" if number % 2 else "")

        def remind(session: Session) -> None:
            rows = session.scalars(select(Application).order_by(Application.receipt_number)).all()
            case_notices.send_reminder(session, DESK, rows, kind, NOW + timedelta(days=6))

        store.run(remind)

    return story


def work(mode: WorkMode, *, spare_router: bool = False, new_line: bool = False) -> Story:
    """Work on the line of the seed's application, which CT0002 shares, or on a line still to be made."""

    def story(store: Store) -> None:
        text = WITH_SMTP_SERVER.replace("spare_router = false", f"spare_router = {spare_router}".lower())
        begin(store, text + SHARING)
        take_in(store, application_mail(NOW, application(_BUSY_FORM)), NOW)
        order = WorkOrder(
            mode=mode,
            begins_at=datetime(2026, 12, 10, 15, 30, tzinfo=UTC),
            ends_at=datetime(2026, 12, 10, 18, 0, tzinfo=UTC),
            router_installed_on=date(2026, 12, 12) if new_line else None,
            contact="NACCSセンター 回線工事窓口",
            phone="0440000000",
            fee="30,000円（税別）" if spare_router else "",
        )
        store.run(lambda session: _schedule_work(session, order, new_line=new_line))

    return story


def work_moved(days: int = 3) -> Story:
    """Work on site for the line of the seed's application, in the place of remote work some days before."""

    def arrange(session: Session) -> None:
        line = session.scalars(select(Line).where(Line.router_number == "09143")).one()
        begins, ends = datetime(2026, 12, 7, 4, 0, tzinfo=UTC), datetime(2026, 12, 7, 6, 0, tzinfo=UTC)
        first = WorkOrder(begins_at=begins, ends_at=ends, contact="NACCSセンター 回線工事窓口", phone="0440000000")
        works.schedule(session, DESK, case_of(session), first, "os:reviewer", LATER)
        moved = WorkOrder(
            begins_at=begins + timedelta(days=days),
            ends_at=ends + timedelta(days=days),
            mode=WorkMode.ON_SITE,
            fee="30,000円（税別）",
        )
        arranged = works.schedule(session, DESK, case_of(session), moved, "os:reviewer", LATER)
        case_notices.send_work_schedule(session, DESK, case_of(session), arranged, line, LATER)

    def story(store: Store) -> None:
        begin(store, WITH_SMTP_SERVER + SHARING)
        take_in(store, application_mail(NOW, application(_BUSY_FORM)), NOW)
        store.run(arrange)

    return story


def _schedule_work(session: Session, order: WorkOrder, *, new_line: bool) -> None:
    line = session.scalars(select(Line).where(Line.router_number == "09143")).one()
    line.shared_with = "CT0002"
    arranged = Work(
        id=new_key(session),
        mode=str(order.mode),
        begins_at=order.begins_at,
        ends_at=order.ends_at,
        router_installed_on=order.router_installed_on,
        contact=order.contact,
        phone=order.phone,
        fee=order.fee,
    )
    case_notices.send_work_schedule(session, DESK, case_of(session), arranged, None if new_line else line, LATER)


def asked_for(address: str, days: int = 12) -> Story:
    """A mail to form@ or schedule@ from a registered contact."""

    def story(store: Store) -> None:
        begin(store)
        first = date(2026, 12, 14)
        starts = [first + timedelta(weeks=week) for week in range(days)]
        rows = [ScheduleDay(start_on=day, apply_by=day - timedelta(days=10)) for day in starts]
        store.run(lambda session: session.add_all(rows))
        mail = application_mail(NOW, mail_with("", files=()), rcpt_to=f"{address}@{DESK.support_domain}")
        store.run(lambda session: desk_mail.handle(session, mail, DESK, NOW))

    return story


def in_english(story: Story) -> Story:
    """The same for an office that wants its mails in English too."""

    def told(store: Store) -> None:
        with bilingual_offices():
            story(store)

    return told


@contextmanager
def _desk() -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as directory:
        yield desk_in(Path(directory))
