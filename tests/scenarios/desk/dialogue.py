"""A dialogue with the application desk, read from a file: what happens, and every mail that it must bring.

A step does one thing: a `mail` comes in, the reviewer decides (`event`), a held mail is released (`release`), terminals
pass their communication check (`tcc`), passwords are asked for (`reveal`), or the clock goes on (`clock`). `brings`
lists all mails that go out with it, in any order; a step without it brings none, `brings_any` is not looked at.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email import policy
from email.message import EmailMessage
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from handlers import desk_jobs, issued_secrets, reviews
from handlers.applications import held_release
from handlers.issued_secrets import Hidden
from handlers.reviews import Decided, NewLine, Refusal
from handlers.workflow import Event
from handlers.works import WorkOrder
from storage.columns import to_micros
from storage.committer import Committer
from storage.effects import TERMINAL_CHECKED, Applied, Change, Unit
from storage.models import (
    Application,
    IssuedSecret,
    LanePause,
    LogicalTerminal,
    Mail,
    MailAddress,
    Recipient,
    ScheduleDay,
)
from storage.states import Direction
from storage.store import Store
from tests.desk_corpus.corpus import OFFICES
from tests.desk_corpus.store_desk import DOMAIN, REVIEWER_ACTOR, Envelope, SentMail, StoreDesk
from tests.handlers.applications.application_mails import DIAGRAM, FORM, form_with, workbook
from tests.handlers.review_cases import DESK

DIALOGUES = Path(__file__).parent
PEOPLE: Mapping[str, str] = {
    "hanako": "tsukan-hanako@applicant.example",
    "kanri": "kanri@applicant.example",
    "colleague": "colleague@applicant.example",
    "umiyama": "umiyama@second.example",
    "minato": "minato@second.example",
    "reviewer": DESK.reviewer_address,
    "operator": DESK.operator_address,
}
FIRST_RECEIPT = "260001A"
_MOST_JOBS = 1000
_SENT_TO = {"apply": f"apply@{DOMAIN}", "form": f"form@{DOMAIN}", "schedule": f"schedule@{DOMAIN}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """One file: what it covers, the day it begins, settings that differ, and its steps."""

    name: str
    covers: str
    begins: datetime
    steps: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    schedule: Sequence[date] = ()


def dialogues() -> list[Dialogue]:
    """Every dialogue beside this file, by name."""
    return [_dialogue(file) for file in sorted(DIALOGUES.glob("*.toml"))]


def _dialogue(file: Path) -> Dialogue:
    read = _in_utc(tomllib.loads(file.read_text(encoding="utf-8")))
    return Dialogue(
        name=file.stem,
        covers=read["covers"],
        begins=read["begins"],
        steps=read["step"],
        settings=read.get("settings", {}),
        schedule=read.get("schedule", ()),
    )


def _in_utc(value: Any) -> Any:
    """The same with every instant in UTC, as the store wants them; files write them in JST."""
    if isinstance(value, dict):
        return {key: _in_utc(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_in_utc(each) for each in value]
    return value.astimezone(UTC) if isinstance(value, datetime) else value


class Stage:
    """The desk on a store, everybody's mail boxes, and the clock of one dialogue."""

    def __init__(self, store: Store, directory: Path, dialogue: Dialogue) -> None:
        self.desk = StoreDesk(store, directory, dialogue.begins, **dialogue.settings)
        self.desk.take_contracts(OFFICES)
        self.store = store
        self.boxes: list[SentMail] = []
        self.held: list[int] = []
        self.receipt = FIRST_RECEIPT
        self._numbers = iter(range(1, 1000))
        days = list(dialogue.schedule)
        store.run(lambda session: _schedule(session, days))

    def play(self, dialogue: Dialogue) -> None:
        """Every step; AssertionError names the first that went otherwise."""
        for number, step in enumerate(dialogue.steps, start=1):
            try:
                self.step(step)
            except AssertionError as error:
                raise AssertionError(f"{dialogue.name}, step {number} ({step.get('says', '')}): {error}") from error

    def step(self, step: Mapping[str, Any]) -> None:
        self.receipt = step.get("receipt", self.receipt)
        for name, act in _ACTS.items():
            if name in step:
                act(self, step)
        sent = self.desk.sent()
        self.boxes += sent
        if not step.get("brings_any", False):
            self._compare(sent, step.get("brings", ()))
        for name, check in _CHECKS.items():
            if name in step:
                check(self, step[name])

    # What happens.

    def mail(self, step: Mapping[str, Any]) -> None:
        """A person writes: a form to the apply address, or a reply to the last mail of a template."""
        asked = step["mail"]
        sender = PEOPLE[asked["from"]]
        raw, to = self._written(asked, sender)
        envelope = Envelope(
            to=to,
            mail_from=sender,
            peer=asked.get("peer", Envelope().peer),
            signed_by=tuple(asked.get("signed_by", ())),
        )
        row = self.desk.receive(raw, envelope)
        assert row.state == step.get("outcome", "handled"), f"{row.state}: {row.last_reply}"
        if row.state == "held":
            self.held.append(row.mail_id)

    def _written(self, asked: Mapping[str, Any], sender: str) -> tuple[bytes, str]:
        answered = self._last(asked["replies_to"], sender) if "replies_to" in asked else None
        mail = EmailMessage(policy=policy.SMTP)
        mail["From"] = sender
        to = str(answered.message["Reply-To"]) if answered else _SENT_TO[asked.get("to", "apply")]
        mail["To"] = to
        mail["Subject"] = f"Re: {answered.subject}" if answered else asked.get("subject", "利用申込")
        mail["Message-ID"] = f"<{next(self._numbers)}@applicant.example>"
        text = asked["text"] if "text" in asked else self._form(asked)
        mail.set_content(text + (_quoted(answered.text) if answered else ""))
        for name in asked.get("files", [] if answered else [DIAGRAM]):
            mail.add_attachment(workbook(), maintype="application", subtype="octet-stream", filename=name)
        return mail.as_bytes(), to

    def _form(self, asked: Mapping[str, Any]) -> str:
        text = form_with(asked.get("set"), asked.get("drop", ()), form=FORM)
        for section in asked.get("without", ()):
            start = text.index(f"【{section}】")
            text = text[:start] + text[text.index("【", start + 1) :]
        return text.replace("【以上】", f"{asked.get('after', '')}【以上】")

    def _last(self, template: str, to: str) -> SentMail:
        found = [mail for mail in self.boxes if mail.template == template and mail.to == to]
        assert found, f"no {template} came to {to}"
        return found[-1]

    def event(self, step: Mapping[str, Any]) -> None:
        """The reviewer, or a second one, lets an event happen."""
        details = dict(step.get("details", {}))
        if "new_lines" in details:
            details["new_lines"] = tuple(NewLine(**line) for line in details["new_lines"])
        if "work" in details:
            details["work"] = WorkOrder(**details["work"])
        actor = step.get("by", REVIEWER_ACTOR)
        chosen = Event(step["event"])
        said = self._complete(actor, details) if chosen is Event.COMPLETE else self._decide(chosen, actor, details)
        refused = step.get("refused")
        if refused is not None:
            assert isinstance(said, Refusal), said
            assert said.reason == refused, said
            return
        assert isinstance(said, Decided), said
        assert said.proposed == step.get("proposed", False)

    def _decide(self, event: Event, actor: str, details: Mapping[str, Any]) -> Decided | Refusal:
        return self.desk.decide(self.receipt, event, actor, **details)

    def _complete(self, actor: str, details: dict[str, Any]) -> Decided | Refusal:
        desk, start = self.desk, details.pop("start_date", None)
        return self.store.run(
            lambda session: reviews.complete(
                session, desk.desk, self.receipt, start, actor, desk.now, desk.calendar, **details
            )
        )

    def release(self, step: Mapping[str, Any]) -> None:
        """A reviewer releases the mail that was held last."""
        desk, mail_id = self.desk, self.held[-1]
        said = self.store.run(
            lambda session: held_release.release(session, desk.desk, mail_id, REVIEWER_ACTOR, desk.now, desk.calendar)
        )
        assert type(said).__name__ == step["release"], said

    def tcc(self, step: Mapping[str, Any]) -> None:
        """Terminals of the application have their first normal TCC, as the exchange writes it."""
        wanted = step["tcc"]
        terminals = self._terminals()[: wanted if isinstance(wanted, int) else None]
        changes = tuple(
            Change(TERMINAL_CHECKED, (terminal.id, to_micros(self.desk.now)), must=False) for terminal in terminals
        )
        for change in changes:
            said = Committer(self.store).commit([Unit(changes=(change,))])
            assert isinstance(said[0], Applied), said
        self._run_what_is_due()

    def reveal(self, step: Mapping[str, Any]) -> None:
        """A reviewer asks for the passwords: their number, or why they are not shown."""
        desk = self.desk

        def ask(session: Session) -> object:
            application = reviews.find(session, self.receipt)
            assert application is not None
            return issued_secrets.reveal(session, desk.desk, application, REVIEWER_ACTOR, desk.now, desk.calendar)

        shown = self.store.run(ask)
        if isinstance(shown, Hidden):
            assert step["reveal"] == str(shown), shown
        else:
            assert isinstance(shown, tuple)
            assert len(shown) == step["reveal"], len(shown)

    def clock(self, step: Mapping[str, Any]) -> None:
        """The clock goes to an instant, and stops wherever something falls due."""
        until = step["clock"]
        assert until >= self.desk.now
        for _ in range(_MOST_JOBS):
            due = self.store.read(desk_jobs.next_due)
            if due is None or due > until:
                break
            self.desk.now = max(self.desk.now, due)
            self._run_what_is_due()
        else:
            raise AssertionError("the jobs of the desk never end")
        self.desk.now = until
        self._run_what_is_due()

    def _run_what_is_due(self) -> None:
        self._until_none(desk_jobs.run_due)
        self._until_none(desk_jobs.sweep)
        self._until_none(desk_jobs.run_due)  # the sweep plans what was not planned

    def _until_none(self, work: Callable[..., int]) -> None:
        desk = self.desk
        for _ in range(_MOST_JOBS):
            if not self.store.run(lambda session: work(session, desk.desk, desk.calendar, desk.now)):
                return
        raise AssertionError("a job is done again and again")

    # What came of it.

    def _compare(self, sent: Sequence[SentMail], expected: Sequence[Mapping[str, Any]]) -> None:
        left = list(sent)
        for wanted in expected:
            found = [mail for mail in left if self._is(mail, wanted)]
            assert found, f"no {wanted['mail']} to {wanted['to']} among {[(mail.template, mail.to) for mail in left]}"
            left.remove(found[0])
            self._read(found[0], wanted)
        assert not left, f"not expected: {[(mail.template, mail.to, mail.subject) for mail in left]}"

    @staticmethod
    def _is(mail: SentMail, wanted: Mapping[str, Any]) -> bool:
        return fnmatchcase(mail.template, wanted["mail"]) and mail.to == PEOPLE[wanted["to"]]

    def _read(self, mail: SentMail, wanted: Mapping[str, Any]) -> None:
        """Subject and words of a mail; where lines were folded for 76 columns does not count."""
        text, name = _unfolded(mail.text), f"{mail.template} to {mail.to}"
        assert wanted.get("subject", "") in mail.subject, f"{name}: {mail.subject}"
        for words in wanted.get("body", ()):
            assert _unfolded(self._filled(words)) in text, f"{name}: no {self._filled(words)!r} in\n{mail.text}"
        for words in wanted.get("lacks", ()):
            assert _unfolded(self._filled(words)) not in text, f"{name}: {words!r} in\n{mail.text}"
        assert set(wanted.get("files", ())) <= set(mail.file_names), f"{name}: {mail.file_names}"

    def _filled(self, words: str) -> str:
        """{terminal}, {ip} and {address} are those the application was issued; {terminal2} the second one's."""
        for number, terminal in enumerate(self._terminals(), start=1):
            suffix = "" if number == 1 else str(number)
            found = {"terminal": terminal.name, "ip": terminal.ip_address, "address": self._address(terminal.id)}
            for name, value in found.items():
                words = words.replace(f"{{{name}{suffix}}}", value or "")
        return words

    def _terminals(self) -> list[LogicalTerminal]:
        query = (
            select(LogicalTerminal)
            .join(Application, Application.id == LogicalTerminal.application_id)
            .where(Application.receipt_number == self.receipt)
            .order_by(LogicalTerminal.name)
        )
        return list(self.store.read(lambda session: session.scalars(query).all()))

    def _address(self, terminal_id: int) -> str | None:
        query = select(MailAddress.address).where(MailAddress.terminal_id == terminal_id).order_by(MailAddress.id)
        return self.store.read(lambda session: session.scalars(query).first())

    def state(self, expected: str) -> None:
        assert self.desk.application(self.receipt).state == expected, self.desk.application(self.receipt).state

    def says(self, expected: Mapping[str, Any]) -> None:
        """Columns of the application."""
        application = self.desk.application(self.receipt)
        found = {name: getattr(application, name) for name in expected}
        assert found == expected, found

    def issued(self, expected: int) -> None:
        """How many terminals the application issued, and that no two share a name or an address."""
        terminals = self._terminals()
        assert len(terminals) == expected, [terminal.name for terminal in terminals]
        everything = self.store.read(lambda session: session.scalars(select(LogicalTerminal)).all())
        assert len({terminal.name for terminal in everything}) == len(everything)

    def ends(self, expected: Mapping[str, Any]) -> None:
        """The day each terminal ends; an empty text for none."""
        query = select(LogicalTerminal.name, LogicalTerminal.effective_until)
        rows = {row.name: row.effective_until or "" for row in self.store.read(lambda s: s.execute(query).all())}
        assert {name: rows[name] for name in expected} == expected, rows

    def paused(self, expected: int) -> None:
        """How many lanes are paused for work."""
        query = select(LanePause).where(LanePause.resumed_at.is_(None))
        rows = self.store.read(lambda session: session.scalars(query).all())
        assert len(rows) == expected, [row.lane for row in rows]

    def sealed(self, expected: int) -> None:
        """How many passwords can still be opened."""
        query = select(IssuedSecret).where(IssuedSecret.destroyed_at.is_(None))
        assert len(self.store.read(lambda session: session.scalars(query).all())) == expected

    def receipts(self, expected: Sequence[str]) -> None:
        assert [number for number, _ in self.desk.applications()] == list(expected), self.desk.applications()

    def nothing_waits(self, expected: bool) -> None:
        """Whether no job is left to do, and no mail to handle."""
        assert (self.store.read(desk_jobs.next_due) is None) == expected
        waiting = (
            select(Recipient.id).join(Mail).where(Mail.direction == Direction.INBOUND, Recipient.state == "received")
        )
        assert not self.store.read(lambda session: session.scalars(waiting).all())


def _unfolded(text: str) -> str:
    return "".join(text.split())


def _quoted(text: str) -> str:
    """What a mail program puts below an answer."""
    return (
        "\n\n-----Original Message-----\n"
        "差出人: NACCSサポートシステム\n送信日時: 2026年\n宛先: 様\n件名: 【NSS】\n\n" + text
    )


def _schedule(session: Session, days: Sequence[date]) -> None:
    session.add_all(ScheduleDay(start_on=day, apply_by=day - timedelta(days=12)) for day in days)


_ACTS: Mapping[str, Callable[[Stage, Mapping[str, Any]], None]] = {
    "clock": Stage.clock,  # before what else a step does
    "mail": Stage.mail,
    "event": Stage.event,
    "release": Stage.release,
    "tcc": Stage.tcc,
    "reveal": Stage.reveal,
}
_CHECKS: Mapping[str, Callable[[Stage, Any], None]] = {
    "state": Stage.state,
    "has": Stage.says,
    "issued": Stage.issued,
    "ends": Stage.ends,
    "paused": Stage.paused,
    "sealed": Stage.sealed,
    "receipts": Stage.receipts,
    "nothing_waits": Stage.nothing_waits,
}
