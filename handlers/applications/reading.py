"""A form read before its unit of work, together with the facts of the store it was read with.

Reading takes time that a unit of work must not take. Within it the facts are compared: while they stand, so does what
was read; otherwise the form is read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy.orm import Session

from handlers.applications import register
from handlers.applications.checks import Accepted, Invalid, read_application
from handlers.applications.contents import ApplicationContents
from handlers.applications.field_rules import ApplicationLimits, OfficeFacts
from handlers.calendar import jst_date
from handlers.desk import DeskSettings
from handlers.mail import InboundMail
from handlers.schedule import start_days


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a form says. `offices` are the answers of the register, `base` the contents that an amendment changes."""

    result: Accepted | Invalid
    offices: Mapping[str, OfficeFacts | None] = field(default_factory=dict)
    schedule: frozenset[date] = frozenset()
    base: str = ""


def read(session: Session, mail: InboundMail, desk: DeskSettings, *, base: str = "") -> Reading:
    """Read the form of a mail by the rules of its day of arrival (JST) and the register of now.

    `base`: the contents (JSON) of the application that the form amends.
    """
    offices: dict[str, OfficeFacts | None] = {}

    def look_up(code: str) -> OfficeFacts | None:
        offices[code] = register.office_facts(session, code)
        return offices[code]

    limits = ApplicationLimits(
        greatest_count=desk.greatest_count, addresses_per_new_server=desk.addresses_per_new_server
    )
    days = start_days(session, jst_date(mail.received_at))
    result = read_application(
        mail,
        look_up,
        today=jst_date(mail.received_at),
        limits=limits,
        schedule=days,
        base=ApplicationContents.from_json(base) if base else None,
    )
    return Reading(result=result, offices=offices, schedule=days, base=base)


def renewed(
    session: Session, mail: InboundMail, desk: DeskSettings, earlier: Reading | None, *, base: str = ""
) -> Reading:
    """The earlier reading where what it rests on still stands, else a new one."""
    if earlier is not None and earlier.base == base and _stands(session, mail, earlier):
        return earlier
    return read(session, mail, desk, base=base)


def _stands(session: Session, mail: InboundMail, reading: Reading) -> bool:
    if start_days(session, jst_date(mail.received_at)) != reading.schedule:
        return False
    return all(register.office_facts(session, code) == facts for code, facts in reading.offices.items())
