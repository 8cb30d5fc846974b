"""`mail list` and `explain`: what the store knows of a mail, passwords blanked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import invocation, print_json, refuse

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from storage.models import Mail, Recipient

mail_app = typer.Typer(no_args_is_help=True, help="Mails in the store.")

_KEYS = 1 << 63

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(mail_app, name="mail")
    root.command("explain")(explain)


@mail_app.command("list")
def list_mails(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only mails with a recipient in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List mails with their recipients, newest first."""
    from gateway.cli.opening import opened_store

    with opened_store(invocation(context)) as opened:
        mails = opened.store.read(lambda session: _list(session, state, limit))
    if as_json:
        print_json(mails)
        return
    for mail in mails:
        typer.echo(f"{mail['id']}  {mail['received_at']}  {mail['listener']:8} from=<{mail['mail_from']}>")
        for recipient in mail["recipients"]:
            reply = f"  {recipient['last_reply']}" if recipient["last_reply"] else ""
            typer.echo(f"    <{recipient['rcpt_to']}>  {recipient['state']}{reply}")


def explain(
    context: typer.Context,
    mail_id: Annotated[str, typer.Argument(help="The mail id of a 250 reply, a list or the log.")],
    as_json: AsJson = False,
) -> None:
    """Say where each recipient of a mail stands, why, and what was tried."""
    from gateway.cli.opening import opened_store

    if not (mail_id.isascii() and mail_id.isdigit() and int(mail_id) < _KEYS):
        raise typer.BadParameter("a mail id is a number", param_hint="MAIL_ID")
    with opened_store(invocation(context)) as opened:
        found = opened.store.read(lambda session: _explained(session, int(mail_id)))
    if found is None:
        refuse(invocation(context).text(ja=f"メール {mail_id} はありません", en=f"there is no mail {mail_id}"))
    if as_json:
        print_json(found)
        return
    typer.echo(f"mail {found['id']}: {found['direction']}, {found['listener']}, from=<{found['mail_from']}>")
    typer.echo(f"  received {found['received_at']} from peer {found['peer'] or '-'}, {found['size']} bytes")
    for recipient in found["recipients"]:
        typer.echo(f"  <{recipient['rcpt_to']}> {recipient['state']} since {recipient['since']}")
        typer.echo(f"    lane {recipient['destination'] or '-'}, map version {recipient['map_version']}")
        typer.echo(f"    attempts {recipient['attempts']}, last: {recipient['last_reply'] or '-'}")
        for attempt in recipient["tries"]:
            typer.echo(f"    {attempt['at']} {attempt['outcome']} at {attempt['stage']}: {attempt['reply']}")


def _list(session: Session, state: str | None, limit: int) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from storage.models import Mail, Recipient

    query = select(Mail).order_by(Mail.id.desc()).limit(limit)
    if state is not None:
        query = query.where(Mail.id.in_(select(Recipient.mail_id).where(Recipient.state == state)))
    mails = session.scalars(query).all()
    recipients: dict[int, list[Recipient]] = {}
    ids = [mail.id for mail in mails]
    for row in session.scalars(select(Recipient).where(Recipient.mail_id.in_(ids)).order_by(Recipient.id)):
        recipients.setdefault(row.mail_id, []).append(row)
    return [_mail(mail, recipients.get(mail.id, [])) for mail in mails]


def _mail(mail: Mail, recipients: list[Recipient]) -> dict[str, Any]:
    from gateway.maillog import masked_address

    return {
        "id": str(mail.id),
        "direction": mail.direction,
        "listener": mail.listener,
        "mail_from": masked_address(mail.mail_from),
        "received_at": mail.received_at.isoformat(timespec="milliseconds"),
        "recipients": [
            {
                "rcpt_to": masked_address(row.rcpt_to),
                "state": row.state,
                "destination": row.lane,
                "attempts": row.attempts,
                "last_reply": masked_address(row.last_reply),
            }
            for row in recipients
        ],
    }


def _explained(session: Session, mail_id: int) -> dict[str, Any] | None:
    from sqlalchemy import select

    from gateway.maillog import masked_address
    from storage.models import Attempt, Mail, Recipient

    mail = session.get(Mail, mail_id)
    if mail is None:
        return None
    recipients = list(session.scalars(select(Recipient).where(Recipient.mail_id == mail_id).order_by(Recipient.id)))
    explained = _mail(mail, recipients)
    explained |= {
        "peer": mail.peer,
        "size": mail.size,
        "message_id": mail.message_id,
        "damage": mail.damage,
        "template": mail.template,
    }
    for shown, row in zip(explained["recipients"], recipients, strict=True):
        tries = session.scalars(select(Attempt).where(Attempt.recipient_id == row.id).order_by(Attempt.id))
        shown |= {
            "since": (row.finished_at or row.created_at).isoformat(timespec="milliseconds"),
            "due_at": row.due_at.isoformat(timespec="milliseconds"),
            "in_doubt": row.in_doubt,
            "map_version": None if row.map_version is None else str(row.map_version),
            "tries": [
                {
                    "at": attempt.attempted_at.isoformat(timespec="milliseconds"),
                    "outcome": attempt.outcome,
                    "stage": attempt.stage,
                    "reply": masked_address(attempt.reply),
                }
                for attempt in tries
            ],
        }
    return explained
