"""`mail retry|park|release|resend|cancel`: what an operator does to mails, beside a running service.

Mails are named by their ids or found by filters; what filters find is counted and asked for first. The work is done in
small units of work; what the service changed in the meantime is told and left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import Invocation, invocation, print_json
from gateway.cli.asking import ask
from gateway.cli.mails import (
    Address,
    DirectionName,
    Given,
    Handover,
    MessageId,
    Receipt,
    Since,
    StateName,
    Terminal,
    Unmatched,
    Until,
    looked_up,
    mail_app,
    mail_key,
    pages,
)
from gateway.cli.opening import OpenedStore, SudoUid, actor, opened_store
from gateway.cli.options import AsJson, Yes
from gateway.cli.showing import plain, printable

if TYPE_CHECKING:
    from handlers.mail_operations import Judged, Order

_PAGE = 200

MailIds = Annotated[
    list[str] | None, typer.Argument(metavar="[MAIL_ID]...", help="Ids of mails; else say by filters which are meant.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would be done and do nothing.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit trail.")]
Force = Annotated[
    bool, typer.Option("--force", help="With release: also what its terminal has accepted; it may get it twice.")
]

# What each operation does, in the help, and how it is asked and told, in Japanese and English.
OPERATIONS: dict[str, tuple[str, str, str]] = {
    "retry": ("Try now what waits for a later time, its destination included.", "を今すぐ再試行", "retried now"),
    "park": ("Set queued mails aside until they are released.", "を保留", "parked"),
    "release": (
        "Let parked mails go again; a request that may have reached the backend, was answered or is too old stays.",
        "の保留を解除",
        "released",
    ),
    "resend": (
        "Queue again what a terminal did not get; by id or with --state delivered, what it got too.",
        "を再送",
        "resent",
    ),
    "cancel": ("Never send queued mails. This cannot be undone.", "を取り消し", "cancelled"),
}

# Why a mail was left as it is, in Japanese and English.
REFUSALS: dict[str, tuple[str, str]] = {
    "wrong_state": ("状態が {detail} です", "its state is {detail}"),
    "not_found": ("メールがありません", "there is no such mail"),
    "claimed": (
        "バックエンドに届いた可能性があり、二重に実行されるおそれがあります",
        "it may have reached the backend and could be executed twice",
    ),
    "answered": ("処理結果を返信済みです", "its sender has the answer already"),
    "life_over": (
        "要求の有効時間を過ぎています。業務をやり直してください",
        "it is older than a request may become; the procedure must be done anew",
    ),
    "no_request": ("要求の記録がありません", "the store has no request for it"),
    "accepted": (
        "端末のサーバが受け取っています（{detail}）。それでも送るときは --force を付けます",
        "its terminal's server took it ({detail}); --force sends it all the same",
    ),
    "not_for_a_terminal": ("端末あての電文だけを再送できます", "only messages towards terminals are resent"),
    "changed": ("その間に変わりました", "it changed in the meantime"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """One command as it was written."""

    operation: str
    mail_keys: tuple[int, ...]
    given: Given
    reason: str
    yes: bool
    dry_run: bool
    as_json: bool
    force: bool = False


def register(_root: typer.Typer) -> None:
    """Add the commands of this module to `mail`."""
    for name, (summary, _, _) in OPERATIONS.items():
        mail_app.command(name, help=summary)(_command(name))


def _command(operation: str) -> Callable[..., None]:
    def move(
        context: typer.Context,
        mail_ids: MailIds = None,
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
        reason: Reason = "",
        yes: Yes = False,
        dry_run: DryRun = False,
        force: Force = False,
        as_json: AsJson = False,
        sudo_uid: SudoUid = None,
    ) -> None:
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
        wish = _Wish(
            operation=operation,
            mail_keys=tuple(dict.fromkeys(mail_key(text, "MAIL_IDS") for text in mail_ids or ())),
            given=given,
            reason=reason,
            yes=yes,
            dry_run=dry_run,
            as_json=as_json,
            force=force,
        )
        _refuse_wrong_usage(wish)
        _run(invocation(context), wish, actor(sudo_uid))

    return move


def _refuse_wrong_usage(wish: _Wish) -> None:
    from handlers.mail_operations import MOVES, Operation

    if not wish.mail_keys and wish.given.nothing:
        raise typer.BadParameter("name mails by their ids, or say by filters which are meant", param_hint="MAIL_IDS")
    operation = Operation(wish.operation)
    if wish.force and operation is not Operation.RELEASE:
        raise typer.BadParameter("only a release can be forced", param_hint="--force")
    states = sorted({str(before) for _, before in MOVES[operation]})
    if wish.given.state is not None and wish.given.state not in states:
        raise typer.BadParameter(f"{operation} takes mails that are {' or '.join(states)}", param_hint="--state")


def _run(running: Invocation, wish: _Wish, by: str) -> None:
    from handlers.mail_operations import Operation, Order

    with opened_store(running) as opened:
        order = Order(
            operation=Operation(wish.operation),
            actor=by,
            now=opened.now(),
            request_life=timedelta(seconds=opened.settings.backend.request_life),
            reason=wish.reason,
            force=wish.force,
        )
        judged = _found(running, opened, wish, order)
        ready = [one for one in judged if one.refusal is None]
        if not wish.dry_run and ready:
            _ask(running, wish, ready)
            judged = _carry_out(opened, order, ready) + [one for one in judged if one.refusal is not None]
    _tell(running, wish, judged)
    if any(one.refusal is not None for one in judged):
        raise typer.Exit(1)


def _found(running: Invocation, opened: OpenedStore, wish: _Wish, order: Order) -> list[Judged]:
    """Every recipient that is meant, in the order they are to be moved in, with what is to be told of the others."""
    from handlers.mail_candidates import Candidate, candidates
    from handlers.mail_operations import Judged, Reason

    wanted = looked_up(running, opened, wish.given.mail_filter(opened, wish.mail_keys))
    found: list[Candidate] = []
    missing = set(wish.mail_keys)
    for page in pages(opened, wanted, None, _PAGE):
        ids = [mail.id for mail in page.mails]
        missing.difference_update(ids)
        look = partial(
            candidates,
            order=order,
            wanted=wanted,
            mail_ids=ids,
            by_id=bool(wish.mail_keys),
            delivered_too=wish.given.state == "delivered",
        )
        found += opened.store.read(look)
    found.sort(key=lambda one: (one.place, one.judged.recipient_id))
    nowhere = Judged(
        mail_id=0, recipient_id=0, direction="", rcpt_to="", lane=None, before="", after="", refusal=Reason.NOT_FOUND
    )
    return [one.judged for one in found] + [replace(nowhere, mail_id=key) for key in sorted(missing)]


def _ask(running: Invocation, wish: _Wish, ready: Sequence[Judged]) -> None:
    """Ask before what filters found is moved."""
    if wish.yes or (wish.mail_keys and wish.given.nothing):
        return
    _, ja, en = OPERATIONS[wish.operation]
    number = len({one.mail_id for one in ready})
    question = running.text(
        ja=f"{number} 通のメール{ja}します。よろしいですか", en=f"{number} mails would be {en}, go on?"
    )
    ask(running, question)


def _carry_out(opened: OpenedStore, order: Order, ready: Sequence[Judged]) -> list[Judged]:
    from handlers.mail_operations import MOST_AT_ONCE, carry_out

    done: list[Judged] = []
    for at in range(0, len(ready), MOST_AT_ONCE):
        ids = [one.recipient_id for one in ready[at : at + MOST_AT_ONCE]]
        done += opened.store.run(partial(carry_out, order=order, recipient_ids=ids))
        if len(ready) > MOST_AT_ONCE:
            typer.echo(f"{len(done)}/{len(ready)}", err=True)
    return done


def _tell(running: Invocation, wish: _Wish, judged: Sequence[Judged]) -> None:
    moved = [one for one in judged if one.refusal is None]
    refused = [one for one in judged if one.refusal is not None]
    if wish.as_json:
        left = [plain(one) | {"text": _why(running, one)} for one in refused]
        print_json({"operation": wish.operation, "done": not wish.dry_run, "moved": plain(moved), "refused": left})
        return
    for one in moved:
        # What a terminal has got stays delivered: it gets a recipient more, and that one is queued.
        after = running.text(ja="もう一度 queued", en="queued once more") if one.before == "delivered" else one.after
        typer.echo(f"{one.mail_id}  <{printable(one.rcpt_to)}>  {one.before} -> {after}")
    for one in refused:
        typer.echo(f"{one.mail_id}  <{printable(one.rcpt_to)}>  {_why(running, one)}", err=True)
    if not judged:
        typer.echo(running.text(ja="対象のメールはありません。", en="there is nothing to do"))


def _why(running: Invocation, one: Judged) -> str:
    ja, en = REFUSALS[str(one.refusal)]
    return running.text(ja=ja, en=en).format(detail=printable(one.detail))
