"""What is worked out about a mail to the desk before its unit of work: forms read, documents chosen and rendered."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.applications.reading import Reading
from handlers.documents import DocumentRequest
from handlers.mail import InboundMail
from handlers.notice_mail import NoticePart
from handlers.outcomes import TemporaryFailure
from storage.models import Application


class CaseChanged(TemporaryFailure):
    """The application is no longer as it was when documents of it were rendered: prepare once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A mail with what was worked out about it.

    `row_version` is that of the application the mail is about; `parts` are the `documents`, rendered.
    """

    mail: InboundMail
    reading: Reading | None = None
    application_id: int | None = None
    row_version: int | None = None
    documents: tuple[DocumentRequest, ...] = ()
    parts: tuple[NoticePart, ...] = ()

    def parts_of(self, application: Application) -> tuple[NoticePart, ...]:
        """The rendered documents of the application as it stands; CaseChanged when they show another state of it."""
        if (self.application_id, self.row_version) != (application.id, application.row_version):
            raise CaseChanged(f"{application.receipt_number} changed while its documents were written")
        return self.parts
