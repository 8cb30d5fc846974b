"""`mail list` and `mail show`: what the store knows of a mail, passwords and tokens blanked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.opening import OpenedStore, opened_store
from gateway.cli.options import AsJson
from gateway.cli.showing import instant, masked, moment, plain, printable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from handlers.mail_search import MailFilter, NoSuchName, Page, Search
    from handlers.mail_view import ListedMail, MailText
    from storage.models import Mail

mail_app = typer.Typer(no_args_is_help=True, help="Mails in the store: find them, read them, move them.")

_KEYS = 1 << 63
LONGEST_HANDOVER = 26  # the width of the item (NACCS EDI 5.1)

Terminal = Annotated[str | None, typer.Option(help="Only mails of this logical terminal (論理端末).")]
Address = Annotated[str | None, typer.Option(help="Only mails from or to this mail address.")]
Receipt = Annotated[str | None, typer.Option(help="Only mails of the application with this receipt number.")]
Handover = Annotated[
    str | None, typer.Option(help="Only requests with this handover value (電文引継情報), their results.")
]
MessageId = Annotated[str | None, typer.Option("--message-id", help="Only the mail with this Message-ID.")]
StateName = Annotated[str | None, typer.Option("--state", help="Only mails with a recipient in this state.")]
DirectionName = Annotated[str | None, typer.Option("--direction", help="Only recipients inbound or outbound.")]
Since = Annotated[str | None, typer.Option(help="Only mails received from then on: an ISO 8601 instant, or 2h ago.")]
Until = Annotated[str | None, typer.Option(help="Only mails received before: an ISO 8601 instant, or 30min ago.")]
Unmatched = Annotated[bool, typer.Option("--unmatched", help="Only results of the backend that match no request.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The filter options as they were written."""

    terminal: str | None = None
    address: str | None = None
    receipt: str | None = None
    handover: str | None = None
    message_id: str | None = None
    state: str | None = None
    direction: str | None = None
    since: str | None = None
    until: str | None = None
    unmatched: bool = False

    @property
    def nothing(self) -> bool:
        """Whether no filter was written."""
        return self == Given()

    def mail_filter(self, opened: OpenedStore, mail_ids: tuple[int, ...] = ()) -> MailFilter:
        """What they mean. Wrong usage for a state, direction, address, handover or instant that is none."""
        from handlers.mail_search import MailFilter
        from storage.states import Direction, State

        if self.state is not None and self.state not in set(State):
            raise typer.BadParameter(f"states are {', '.join(State)}", param_hint="--state")
        if self.direction is not None and self.direction not in set(Direction):
            raise typer.BadParameter(f"directions are {', '.join(Direction)}", param_hint="--direction")
        if self.address is not None and "@" not in self.address:
            raise typer.BadParameter("a mail address has an @", param_hint="--address")
        if self.handover is not None and not 0 < len(self.handover.strip()) <= LONGEST_HANDOVER:
            raise typer.BadParameter(f"a handover value has up to {LONGEST_HANDOVER} bytes", param_hint="--handover")
        if self.message_id is not None and not self.message_id.strip(" <>"):
            raise typer.BadParameter("a Message-ID is not empty", param_hint="--message-id")
        now = opened.now()
        return MailFilter(
            mail_ids=mail_ids,
            terminal=self.terminal,
            address=self.address,
            receipt=self.receipt,
            handover=self.handover,
            message_id=self.message_id,
            states=frozenset() if self.state is None else frozenset({State(self.state)}),
            direction=None if self.direction is None else Direction(self.direction),
            since=moment(self.since, now, "--since"),
            until=moment(self.until, now, "--until"),
            unmatched=self.unmatched,
            keys_tell_time=not opened.settings.sandbox.movable_clock,
        )


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(mail_app, name="mail")


def mail_key(text: str, hint: str) -> int:
    """A mail id as it is written; wrong usage for anything else."""
    if not (text.isascii() and text.isdigit() and int(text) < _KEYS):
        raise typer.BadParameter("a mail id is a number", param_hint=hint)
    return int(text)


def looked_up(running: Invocation, opened: OpenedStore, wanted: MailFilter) -> Search:
    """The search for a filter; the command ends when nothing has a name in it."""
    from handlers.mail_search import NoSuchName, search

    try:
        return opened.store.read(lambda session: search(session, wanted))
    except NoSuchName as unknown:
        _no_such_name(running, unknown)


def _no_such_name(running: Invocation, unknown: NoSuchName) -> NoReturn:
    kind_ja = {"terminal": "論理端末", "receipt": "申込受付番号"}[unknown.kind]
    kind_en = {"terminal": "terminal", "receipt": "application"}[unknown.kind]
    refuse(running.text(ja=f"{kind_ja} {unknown.value} はありません", en=f"there is no {kind_en} {unknown.value}"))


def pages(opened: OpenedStore, wanted: Search, before: int | None, limit: int) -> Iterator[Page]:
    """The pages of a search, each read by itself, until there is no more."""
    from handlers.mail_search import page

    while True:
        found = opened.store.read(partial(page, wanted=wanted, before=before, limit=limit))
        yield found
        if found.before is None:
            return
        before = found.before


@mail_app.command("list")
def list_mails(
    context: typer.Context,
    terminal: Terminal = None,
    address: Address = None,
    receipt: Receipt = None,
    handover: Handover = None,
    message_id: MessageId = None,
    state: StateName = None,
    direction: DirectionName = None,
    since: Since = None,
    until: Until = None,
    unmatched: Unmatched = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 50,
    before: Annotated[str | None, typer.Option(help="Go on below this mail id, the last one of a list.")] = None,
    as_json: AsJson = False,
) -> None:
    """List mails with their recipients, newest first."""
    running = invocation(context)
    given = Given(
        terminal=terminal,
        address=address,
        receipt=receipt,
        handover=handover,
        message_id=message_id,
        state=state,
        direction=direction,
        since=since,
        until=until,
        unmatched=unmatched,
    )
    below = None if before is None else mail_key(before, "--before")
    with opened_store(running) as opened:
        mails = _listed(opened, looked_up(running, opened, given.mail_filter(opened)), below, limit)
    if as_json:
        print_json(plain(mails))
        return
    for mail in mails:
        _show_listed(running, mail)
    if len(mails) == limit:
        more = f"--before {mails[-1].id}"
        typer.echo(running.text(ja=f"続きは {more}", en=f"more with {more}"), err=True)


def _listed(opened: OpenedStore, wanted: Search, before: int | None, limit: int) -> list[ListedMail]:
    from handlers.mail_view import listed

    found: list[Mail] = []
    for page in pages(opened, wanted, before, limit):
        found += page.mails
        if len(found) >= limit:
            break
    return opened.store.read(lambda session: listed(session, found[:limit]))


def _show_listed(running: Invocation, mail: ListedMail) -> None:
    mark = running.text(ja="  対応する要求なし", en="  matches no request") if mail.unmatched else ""
    typer.echo(f"{mail.id}  {instant(mail.received_at)}  {mail.listener:8} from=<{masked(mail.mail_from)}>{mark}")
    for recipient in mail.recipients:
        reply = f"  {printable(recipient.last_reply)}" if recipient.last_reply else ""
        typer.echo(f"    <{printable(recipient.rcpt_to)}>  {recipient.state}{reply}")


@mail_app.command("show")
def show_mail(
    context: typer.Context,
    mail_id: Annotated[str, typer.Argument(help="The mail id of a 250 reply, a list or the log.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the bytes of the mail, passwords and tokens blanked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one mail with its header fields and its text, passwords and tokens blanked."""
    from handlers.mail_view import listed, mail_text

    running = invocation(context)
    if raw and as_json:
        raise typer.BadParameter("--raw and --json exclude each other", param_hint="--raw")
    key = mail_key(mail_id, "MAIL_ID")
    with opened_store(running) as opened:
        found = opened.store.read(lambda session: _bytes_of(session, key))
        if found is None:
            refuse(running.text(ja=f"メール {mail_id} はありません", en=f"there is no mail {mail_id}"))
        mail, content = found
        (shown,) = opened.store.read(lambda session: listed(session, [mail]))
    if raw:
        sys.stdout.flush()
        typer.echo(content, nl=False)
        return
    text = mail_text(mail, content)
    if as_json:
        print_json(_mail_json(mail, shown, text))
        return
    _show_listed(running, shown)
    typer.echo("")
    for name, value in text.headers:
        typer.echo(f"{printable(name)}: {printable(value)}")
    typer.echo("")
    typer.echo(printable(text.text, lines=True))
    for name in text.attachments:
        typer.echo(running.text(ja=f"添付: {printable(name)}", en=f"attached: {printable(name)}"))


def _bytes_of(session: Session, mail_id: int) -> tuple[Mail, bytes] | None:
    from handlers.mail_view import shown_bytes
    from storage.models import Mail

    mail = session.get(Mail, mail_id)
    return None if mail is None else (mail, shown_bytes(session, mail))


def _mail_json(mail: Mail, shown: ListedMail, text: MailText) -> dict[str, object]:
    listed: dict[str, object] = plain(shown)
    return listed | {
        "peer": mail.peer,
        "helo_name": mail.helo_name,
        "size": mail.size,
        "message_id": mail.message_id,
        "headers": [{"name": name, "value": masked(value)} for name, value in text.headers],
        "text": masked(text.text),
        "attachments": list(text.attachments),
    }
