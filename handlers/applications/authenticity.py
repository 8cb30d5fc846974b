"""Who is believed: the author of a mail, to an office and to an application of it.

Authentic is a mail with one plain From mailbox that is verified (its peer stood in a trusted network, or the domain of
From signed it by DKIM under our rules) and that belongs: a registered contact or the システム管理責任者 of the office.
"""

from __future__ import annotations

from dataclasses import dataclass

from handlers.applications import register
from handlers.applications.receipt_holds import HoldReason
from handlers.mail import InboundMail
from handlers.notices import same_address
from storage.models import Application, Office

_LONGEST_WHY = 200  # the width of applications.sender_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the author is believed and why; `doubt` says why not. `registered`: the office's register has them."""

    authentic: bool
    why: str
    registered: bool
    doubt: HoldReason | None = None


def verified_by(mail: InboundMail) -> str:
    """What proves that From is true: `dkim <domain>` or `network <peer>`; empty when nothing does."""
    if mail.header_from is None:
        return ""
    if mail.signed_author is not None:
        return f"dkim {mail.signed_author.rpartition('@')[2]}"[:_LONGEST_WHY]
    return f"network {mail.peer}"[:_LONGEST_WHY] if mail.trusted else ""


def believed(mail: InboundMail, office: Office | None) -> Verdict:
    """Whether the mail is the office's own. Design §9."""
    author, why = mail.header_from, verified_by(mail)
    registered = author is not None and office is not None and register.is_registered(office, author)
    if author is None:
        return _doubted(HoldReason.NO_SINGLE_AUTHOR, registered=registered)
    if not why:
        return _doubted(HoldReason.UNVERIFIED, registered=registered)
    if not registered:
        return _doubted(HoldReason.NOT_REGISTERED, registered=False)
    return Verdict(authentic=True, why=why, registered=True)


def believed_about(mail: InboundMail, application: Application, office: Office) -> Verdict:
    """Whether the author may act on an application of the office.

    Beside the registered people it is its notice address, once a reviewer accepted it.
    """
    verdict = believed(mail, office)
    if verdict.doubt is not HoldReason.NOT_REGISTERED or mail.header_from is None:
        return verdict
    if not same_address(mail.header_from, application.applicant_email):
        return _doubted(HoldReason.NOT_OF_CASE, registered=False)
    if not application.address_accepted:
        return _doubted(HoldReason.ADDRESS_NOT_ACCEPTED, registered=False)
    return Verdict(authentic=True, why=verified_by(mail), registered=False)


def released(actor: str, office: Office | None, mail: InboundMail) -> Verdict:
    """The verdict of a reviewer who released a held mail: it counts as authentic, whoever wrote it."""
    author = mail.header_from
    registered = author is not None and office is not None and register.is_registered(office, author)
    return Verdict(authentic=True, why=f"released by {actor}"[:_LONGEST_WHY], registered=registered)


def _doubted(reason: HoldReason, *, registered: bool) -> Verdict:
    return Verdict(authentic=False, why=reason.in_english, registered=registered, doubt=reason)
