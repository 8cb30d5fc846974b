"""`terminal undelivered`: what did not reach a terminal, shown, saved and queued again, its server being up or not.

It does what SYG does, for all addresses of the terminal at once, beside a running service or without one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.asking import ask
from gateway.cli.contract_apps import terminal_app
from gateway.cli.opening import OpenedStore, SudoUid, actor, opened_store
from gateway.cli.options import AsJson, Yes
from gateway.cli.showing import instant, plain, printable

if TYPE_CHECKING:
    from handlers.undelivered import StuckKind, StuckMessage


def register(_root: typer.Typer) -> None:
    """Nothing more to add: the command of this module belongs to `terminal`, which is registered with the offices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stuck:
    """What the command works on: address rows of one terminal, and how far it looks back."""

    opened: OpenedStore
    address_ids: list[int]
    now: datetime
    since: datetime | None

    def kinds(self, *, of_all_times: bool = False) -> list[StuckKind]:
        from handlers import undelivered

        since = None if of_all_times else self.since
        return self.opened.store.read(lambda session: undelivered.counts(session, self.address_ids, since=since))

    def messages(self, limit: int | None = None) -> list[StuckMessage]:
        from handlers import undelivered

        return self.opened.store.read(
            lambda session: undelivered.messages(session, self.address_ids, now=self.now, since=self.since, limit=limit)
        )

    def fetchable(self, code: str | None) -> int:
        from handlers import undelivered

        return self.opened.store.read(
            lambda session: undelivered.fetchable(session, self.address_ids, code, now=self.now, since=self.since)
        )

    def fetch(self, code: str | None, by: str) -> list[int]:
        from handlers import undelivered

        return self.opened.store.run(
            lambda session: undelivered.requeue(
                session, self.address_ids, code, actor=by, now=self.now, since=self.since, detail="by a command"
            )
        )


@terminal_app.command("undelivered")
def show_undelivered(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The logical terminal (論理端末名).")],
    address: Annotated[str | None, typer.Option(help="Only this mail address of the terminal.")] = None,
    fetch: Annotated[str | None, typer.Option(help="Queue messages of this output information code again.")] = None,
    fetch_all: Annotated[bool, typer.Option("--fetch-all", help="Queue every undelivered message again.")] = False,
    export: Annotated[
        Path | None, typer.Option(file_okay=False, help="Save each message here, as it goes over the wire.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Also what is older than delivery.undelivered_retention.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many messages are listed, the oldest first.")
    ] = 200,
    yes: Yes = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """List what did not reach a terminal: given up, or waiting while its server is down. Save it, queue it again.

    Queued again, messages stand behind what waits already, in the order they had. Nothing is deleted.
    """
    if fetch is not None and fetch_all:
        raise typer.BadParameter("either a code or all", param_hint="--fetch, --fetch-all")
    running = invocation(context)
    with opened_store(running) as opened:
        stuck = _look_up(running, opened, name.upper(), address, whole=whole)
        shown: dict[str, Any] = {"terminal": name.upper(), "kinds": stuck.kinds(), "messages": stuck.messages(limit)}
        if not as_json:
            _show(running, stuck, shown["kinds"], shown["messages"])
        if export is not None:
            shown["exported"] = _export(running, stuck, export, quiet=as_json)
        if fetch is not None or fetch_all:
            fetched = _fetch(running, stuck, _code(fetch), actor(sudo_uid), yes=yes, quiet=as_json)
            shown["fetched"] = [str(mail_id) for mail_id in fetched]
    if as_json:
        print_json(plain(shown))


def _code(stated: str | None) -> str | None:
    """A code as the store has it; a blank one stands for messages without a code."""
    from handlers.undelivered import NO_CODE

    return None if stated is None else stated.strip().upper() or NO_CODE


def _look_up(running: Invocation, opened: OpenedStore, name: str, address: str | None, *, whole: bool) -> _Stuck:
    from handlers.undelivered import rows_of_terminal

    ids = opened.store.read(lambda session: rows_of_terminal(session, name, address))
    if not ids and address is None:
        refuse(
            running.text(
                ja=f"論理端末 {name} がないか、メールアドレスがありません。",
                en=f"there is no terminal {name}, or it has no mail address",
            )
        )
    if not ids:
        refuse(
            running.text(
                ja=f"論理端末 {name} にメールアドレス {address} はありません。",
                en=f"terminal {name} has no mail address {address}",
            )
        )
    now = opened.now()
    retention = timedelta(seconds=float(opened.settings.delivery.undelivered_retention))
    return _Stuck(opened=opened, address_ids=ids, now=now, since=None if whole else now - retention)


def _show(running: Invocation, stuck: _Stuck, kinds: Sequence[StuckKind], messages: Sequence[StuckMessage]) -> None:
    for kind in kinds:
        waiting = running.text(ja=f"うち送信待ち {kind.waiting}", en=f"{kind.waiting} of them waiting")
        typer.echo(f"{printable(kind.output_code):7}  {kind.count}" + (f"  ({waiting})" if kind.waiting else ""))
    for message in messages:
        _show_message(running, message)
    number = sum(kind.count for kind in kinds)
    if number == 0:
        typer.echo(running.text(ja="未送信電文はありません。", en="nothing is undelivered"))
    if number > len(messages):
        more = number - len(messages)
        typer.echo(running.text(ja=f"ほかに {more} 件（--limit）", en=f"{more} more (--limit)"))
    older = sum(kind.count for kind in stuck.kinds(of_all_times=True)) - number if stuck.since else 0
    if older > 0:
        typer.echo(
            running.text(
                ja=f"保存期間を過ぎたものが {older} 件あります（--all で表示）。",
                en=f"{older} more are past the retention (--all shows them)",
            )
        )


def _show_message(running: Invocation, message: StuckMessage) -> None:
    state = running.text(ja="未送信" if message.state == "undelivered" else "送信待ち", en=str(message.state))
    ended = "" if message.bound else running.text(ja=" 宛先は現在無効", en=" its binding does not apply today")
    typer.echo(
        f"    {message.mail_id}  {printable(message.output_code):7}  {message.address}  "
        f"{instant(message.since)}  {message.size}  {state}{ended}  {printable(message.reason)}".rstrip()
    )


def _fetch(running: Invocation, stuck: _Stuck, code: str | None, by: str, *, yes: bool, quiet: bool) -> list[int]:
    number = stuck.fetchable(code)
    if number and not yes:
        question = running.text(ja=f"{number} 件を再送のため送信待ちに戻しますか", en=f"queue {number} messages again?")
        ask(running, question)
    fetched = stuck.fetch(code, by) if number else []
    if not quiet:
        typer.echo(
            running.text(ja=f"{len(fetched)} 件を送信待ちに戻しました。", en=f"{len(fetched)} messages queued again")
        )
    return fetched


def _export(running: Invocation, stuck: _Stuck, directory: Path, *, quiet: bool) -> list[str]:
    """Write every message; a file that holds other bytes already is never written over."""
    from handlers.undelivered import wire_bytes

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen: Counter[int] = Counter()
    paths = []
    for message in stuck.messages():
        seen[message.mail_id] += 1
        copy = "" if seen[message.mail_id] == 1 else f"-{seen[message.mail_id]}"
        path = directory / f"{message.mail_id}{copy}.eml"
        content = stuck.opened.store.read(partial(wire_bytes, recipient_id=message.recipient_id))
        _write(path, content)
        paths.append(str(path))
    if not quiet:
        typer.echo(
            running.text(
                ja=f"{len(paths)} 件を {directory} に保存しました。", en=f"{len(paths)} messages saved in {directory}"
            )
        )
    return paths


def _write(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        if path.is_symlink() or path.read_bytes() != content:
            raise
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
