"""The rows of an application and of its files, from what was read of a mail.

What a column cuts is whole in the application's contents and in its mail.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from handlers import case_tokens
from handlers.applications.checks import AcceptedFile
from handlers.applications.contents import ApplicationContents
from handlers.calendar import jst_date
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.notice_mail import is_message_id
from handlers.notice_templates import shown
from handlers.workflow import State
from storage.models import Application, ApplicationAttachment, Office
from storage.store import new_key

_NAME_WIDTH = 80
_FILE_NAME_WIDTH = 255


def new_application(
    session: Session,
    desk: DeskSettings,
    mail: InboundMail,
    contents: ApplicationContents,
    office: Office,
    receipt_number: str,
) -> Application:
    """An application received by that mail, dated by its arrival."""
    message_id = mail.message_id or ""
    application = Application(
        id=new_key(session),
        receipt_number=receipt_number,
        office_id=office.id,
        mail_id=mail.mail_id,
        state=State.RECEIVED,
        arrived_at=mail.received_at,
        received_on=jst_date(mail.received_at),
        case_token=case_tokens.case_token(desk.token_key, receipt_number, ""),
        last_message_id=message_id if is_message_id(message_id) else "",
    )
    write_contents(application, contents)
    return application


def write_contents(application: Application, contents: ApplicationContents) -> None:
    """Let the application say what the contents say, in its columns too."""
    application.contents = contents.to_json()
    application.desired_start_date = contents.desired_start_date
    application.applicant_name = contents.applicant.name[:_NAME_WIDTH]
    application.applicant_department = (contents.applicant.department or "")[:_NAME_WIDTH]
    application.applicant_email = contents.applicant.email


def new_attachment(session: Session, application: Application, accepted: AcceptedFile) -> ApplicationAttachment:
    """The row of a file that belongs to the application."""
    return ApplicationAttachment(
        id=new_key(session),
        application_id=application.id,
        kind=accepted.role.value,
        name=kept_name(accepted),
        size=len(accepted.file.content),
        content=accepted.file.content,
    )


def kept_name(accepted: AcceptedFile) -> str:
    """The name of a file as it is kept and shown."""
    return shown(accepted.file.name)[:_FILE_NAME_WIDTH]
