"""Mail that no person wrote, or that we wrote ourselves: never answered, lest two machines answer each other.

The signs are those of RFC 3834 §2 and §5, RFC 5321 §4.5.5 (null sender), RFC 2369 and 2919 (lists), the older
Precedence, and the fields that autoresponders and [MS-OXCMAIL] §2.1.3.2.20 add. The last one stands in mail of people
too: alone it is no sign where the author is verified.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from handlers.applications.authenticity import verified_by
from handlers.desk import DeskSettings
from handlers.mail import InboundMail

_LIST_FIELDS = "list-"
_BULK = frozenset({"auto_reply", "bulk", "junk", "list"})
# Any value of these says that a program answered.
_AUTORESPONDERS = ("x-autoreply", "x-autorespond", "x-autoresponse", "x-mail-autoreply")
# Who sets one of these wants no automatic answer; None and receipts (DR, RN …) say nothing.
_SUPPRESSED = frozenset({"all", "autoreply", "oof"})
# How mailers of people who are away begin a subject; a person's answer to one begins with Re.
_ABSENT = re.compile(
    r"(?:自動応答|自動返信|不在通知|不在のお知らせ|auto(?:matic)?[ -]?(?:reply|response)|out of (?:the )?office)"
    r"(?:\b|[:：\s）)\]】]|$)",
    re.IGNORECASE,
)
_DAEMON = re.compile(r"mailer-daemon(?:@.*)?", re.IGNORECASE)
_OWN_LOCAL_PART = re.compile(r"apply|form|schedule|postmaster|case\+.*|bounce\+.*")


def why_automatic(mail: InboundMail, desk: DeskSettings) -> str | None:
    """The sign by which the mail is known as automatic, in one line; None when it may be answered."""
    if not mail.mail_from:
        return "null envelope sender"
    if mail.auto_submitted not in (None, "no"):
        return f"Auto-Submitted: {mail.auto_submitted}"
    if any(name.startswith(_LIST_FIELDS) for name, _ in mail.header.fields):
        return "sent through a mailing list"
    precedence = (mail.header_value("precedence") or "").strip().lower()
    if precedence in _BULK:
        return f"Precedence: {precedence}"
    if _DAEMON.fullmatch(mail.mail_from):
        return "sent by a mailer daemon"
    return _why_autoresponder(mail) or ("sent by this gateway" if is_own(mail, desk) else None)


def why_absent(mail: InboundMail) -> str | None:
    """The sign in the subject that its writer is away; None without it.

    Anybody may begin a subject so: it counts only where no person's words are lost by it.
    """
    subject = unicodedata.normalize("NFKC", mail.subject).lstrip("【[( ")
    return "its subject says that its writer is away" if _ABSENT.match(subject) else None


def correspondent(address: str) -> str:
    """A short name of an address, by which what is sent to it, or because of it, is counted."""
    return hashlib.sha256(address.lower().encode()).hexdigest()[:16]


def _why_autoresponder(mail: InboundMail) -> str | None:
    for name in _AUTORESPONDERS:
        if (mail.header_value(name) or "no").strip().lower() != "no":
            return f"sent by an autoresponder: {name}"
    # Exchange puts it on what people write as well, and a program can be verified no less: other signs tell of it.
    if verified_by(mail):
        return None
    suppressed = (mail.header_value("x-auto-response-suppress") or "").lower()
    if _SUPPRESSED & {word.strip() for word in suppressed.split(",")}:
        return "X-Auto-Response-Suppress: it wants no automatic answer"
    return None


def is_own(mail: InboundMail, desk: DeskSettings) -> bool:
    """Whether one of the gateway's own notices came back: by its Message-ID, its sender or its author."""
    own_message_id = rf"<\d{{1,19}}@{re.escape(desk.support_domain)}>"
    if re.fullmatch(own_message_id, mail.message_id or "", re.IGNORECASE):
        return True
    return any(_is_own_address(address, desk) for address in (mail.mail_from, mail.header_from or ""))


def _is_own_address(address: str, desk: DeskSettings) -> bool:
    address = address.lower()
    local_part, _, domain = address.rpartition("@")
    if address == desk.from_address.lower():
        return True
    return domain == desk.support_domain.lower() and _OWN_LOCAL_PART.fullmatch(local_part) is not None
