"""The case view (申込内容参照): what anybody who may see an application is shown of it, read from the store."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, selectinload

from handlers.applications.contents import ApplicationContents
from handlers.calendar import jst_date
from handlers.case_counts import Count, counts
from handlers.case_progress import Progress, progress
from handlers.case_works import WorkView, works_of
from handlers.workflow import STATUS_JA, State
from storage.models import Application, ApplicationAttachment, LogicalTerminal, MailAddress, Office


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedTerminal:
    """A terminal that the application issued or gave addresses to; only the addresses issued with it."""

    name: str
    ip_address: str | None
    mail_addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that came with the application; `size` in bytes."""

    kind: str
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicantView:
    """申込担当者, with the office they apply for."""

    company_name: str
    company_abbreviation: str
    office_name: str
    office_code: str
    department: str
    phone: str
    title: str
    kana: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """企業, 事業所, 契約者: whose data the application changes."""

    company: bool
    office: bool
    contract_holder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """An application as its case view shows it."""

    receipt_number: str
    state: str
    status_ja: str
    office_code: str  # 事業所コード(申込者)
    contract_office_code: str  # 事業所コード(契約者)
    received_on: date
    review_completed_on: date | None
    desired_start_date: date
    desired_end_date: date | None  # 契約解除(満了)希望日
    application_class: str  # 新規, 変更 or 変更(契約者)
    special_classes: tuple[str, ...]  # 共同利用, 付替, 機器共用
    marks: Marks
    items: tuple[str, ...]
    reason: str
    remarks: str
    attachments: tuple[Attachment, ...]
    applicant: ApplicantView
    applicant_name: str
    applicant_email: str
    administrator_email: str
    start_date: date | None
    end_date: date | None  # 契約満了日
    settings_deadline: date | None
    settings_received_on: date | None
    passwords_until: date | None
    counts: Mapping[str, Count]
    terminals: tuple[IssuedTerminal, ...]
    works: tuple[WorkView, ...]
    progress: tuple[Progress, ...]


_CANCELLATION = "cancellation"
_CONTRACT_HOLDER = "contract_holder"
# Whose data an item changes.
_COMPANY_ITEMS = frozenset({"office_names", "head_office", _CONTRACT_HOLDER})
_OFFICE_ITEMS_NOT = frozenset({"head_office", _CONTRACT_HOLDER})
# 申込分類(特殊), by the items that make an application one.
_SPECIAL: Mapping[str, frozenset[str]] = {
    "共同利用": frozenset({"joint_use", "joint_use_new_office"}),
    "付替": frozenset(),  # none of the items of the form is one
    "機器共用": frozenset({"shared_equipment"}),
}


def case_view(session: Session, application: Application) -> CaseView:
    """Everything the store knows of an application that its people may see."""
    contents = ApplicationContents.from_json(application.contents)
    office = session.get_one(Office, application.office_id)
    chosen = {item.code for item in contents.chosen_items}
    ends = _CANCELLATION in chosen
    return CaseView(
        receipt_number=application.receipt_number,
        state=application.state,
        status_ja=STATUS_JA[State(application.state)],
        office_code=office.code,
        contract_office_code=office.code,
        received_on=application.received_on,
        review_completed_on=_day_of(application.completed_at),
        desired_start_date=application.desired_start_date,
        desired_end_date=application.desired_start_date if ends else None,
        application_class=_class_of(contents, chosen),
        special_classes=tuple(name for name, codes in _SPECIAL.items() if codes & chosen),
        marks=Marks(
            company=bool(chosen & _COMPANY_ITEMS),
            office=bool(chosen - _OFFICE_ITEMS_NOT),
            contract_holder=_CONTRACT_HOLDER in chosen,
        ),
        items=tuple(item.name for item in contents.chosen_items),
        reason=contents.reason,
        remarks=contents.remarks or "",
        attachments=_attachments(session, application),
        applicant=_applicant(contents, office),
        applicant_name=application.applicant_name,
        applicant_email=application.applicant_email,
        administrator_email=office.administrator_email,
        start_date=application.start_date,
        end_date=application.start_date if ends else None,
        settings_deadline=application.settings_deadline,
        settings_received_on=_day_of(application.settings_received_at),
        passwords_until=application.passwords_until,
        counts=counts(contents),
        terminals=_issued(session, application),
        works=works_of(session, application),
        progress=progress(session, application),
    )


def _day_of(instant: datetime | None) -> date | None:
    return None if instant is None else jst_date(instant)


def _class_of(contents: ApplicationContents, chosen: Collection[str]) -> str:
    short = contents.application_class.short
    return f"{short}(契約者)" if _CONTRACT_HOLDER in chosen else short


def _applicant(contents: ApplicationContents, office: Office) -> ApplicantView:
    person = contents.applicant
    return ApplicantView(
        company_name=office.company_name,
        company_abbreviation=office.company_abbreviation,
        office_name=office.name,
        office_code=office.code,
        department=person.department or "",
        phone=person.phone,
        title=person.title or "",
        kana=person.kana,
        name=person.name,
    )


def _attachments(session: Session, application: Application) -> tuple[Attachment, ...]:
    """Without their bytes, which a page does not show."""
    files = session.execute(
        select(ApplicationAttachment.kind, ApplicationAttachment.name, ApplicationAttachment.size)
        .where(ApplicationAttachment.application_id == application.id)
        .order_by(ApplicationAttachment.id)
    )
    return tuple(Attachment(kind=kind, name=name, size=size) for kind, name, size in files)


def _issued(session: Session, application: Application) -> tuple[IssuedTerminal, ...]:
    if application.start_date is None:
        return ()
    extended = select(MailAddress.terminal_id).where(MailAddress.application_id == application.id)
    rows = session.scalars(
        select(LogicalTerminal)
        .where(or_(LogicalTerminal.application_id == application.id, LogicalTerminal.id.in_(extended)))
        .options(selectinload(LogicalTerminal.mail_addresses))
        .order_by(LogicalTerminal.id)
    )
    return tuple(
        IssuedTerminal(
            name=row.name,
            ip_address=row.ip_address,
            mail_addresses=tuple(
                address.address
                for address in sorted(row.mail_addresses, key=lambda address: address.id)
                if (address.application_id or row.application_id) == application.id
            ),
        )
        for row in rows
    )
