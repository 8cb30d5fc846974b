"""`dkim new|show|check`: the key that signs our mails, the record to publish for it, and a mail judged as received."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.options import AsJson

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.settings import Settings
    from gateway.signing import KeyRecord

dkim_app = typer.Typer(no_args_is_help=True, help="DKIM: the signing key, its DNS record, and judging a mail.")

Selector = Annotated[str | None, typer.Option(help="The selector of the record; else dkim.selector.")]


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(dkim_app, name="dkim")


@dkim_app.command("new")
def new(
    context: typer.Context,
    selector: Selector = None,
    bits: Annotated[int, typer.Option(min=2048, max=4096, help="Length of the key.")] = 2048,
    replace: Annotated[bool, typer.Option("--replace", help="Keep the present key beside and use a new one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the signing key (0600) and print the TXT record to publish.

    The service signs with it from its next start on: publish the record first.
    """
    from gateway.key_file import write_new
    from gateway.signing import new_key

    running = invocation(context)
    settings = running.settings()
    path = settings.dkim.key_file
    label = _label(selector, settings)
    kept = None
    try:
        if replace and path.exists():
            kept = _set_aside(path)
        write_new(path, new_key(bits))
    except FileExistsError:
        refuse(
            running.text(
                ja=f"{path} はすでにあります（置き換えるには --replace）",
                en=f"{path} is there already (--replace keeps it beside and makes another)",
            )
        )
    except OSError as error:
        if kept is not None:
            kept.rename(path)
        refuse(f"dkim.key_file: {path}: {error.strerror}")
    _print(running, settings, label, as_json=as_json, kept=kept)


@dkim_app.command("show")
def show(context: typer.Context, selector: Selector = None, as_json: AsJson = False) -> None:
    """Print the TXT record of the present key."""
    running = invocation(context)
    settings = running.settings()
    if not settings.dkim.key_file.exists():
        path = settings.dkim.key_file
        refuse(
            running.text(
                ja=f"署名鍵 {path} がないため、メールに署名していません（dkim new で作成します）",
                en=f"there is no key {path}, so nothing is signed (dkim new makes one)",
            )
        )
    _print(running, settings, _label(selector, settings), as_json=as_json)


@dkim_app.command("check")
def check(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="A mail as a file; its line ends may be LF."),
    ],
    as_json: AsJson = False,
) -> None:
    """Judge a mail as the public listener would at this moment. Exit status 1: it is not authentic by DKIM."""
    import asyncio
    from datetime import UTC, datetime

    from gateway.sender_auth import SenderAuth, Verdict

    running = invocation(context)
    settings = running.settings()
    try:
        raw = file.read_bytes()
    except OSError as error:
        refuse(f"{file}: {error.strerror}")
    if b"\r\n" not in raw:
        raw = raw.replace(b"\n", b"\r\n")  # as it was before somebody saved it as text

    async def judge(now: datetime) -> Verdict:
        return await SenderAuth(settings.dkim).judge(raw, now)

    verdict = asyncio.run(judge(datetime.now(UTC)))
    if as_json:
        print_json({"signed_by": list(verdict.signed_by), "temporary": verdict.temporary, "why": verdict.why})
    else:
        from gateway.cli.showing import printable

        typer.echo(printable(verdict.why))
    if not verdict.signed_by:
        raise typer.Exit(1)


def _label(selector: str | None, settings: Settings) -> str:
    from gateway.setting_values import check_domain

    try:
        return settings.dkim.selector if selector is None else check_domain(selector).lower()
    except ValueError:
        raise typer.BadParameter("labels of letters, digits and hyphens", param_hint="--selector") from None


def _set_aside(path: Path) -> Path:
    """Give the present key another name beside, and return that."""
    from datetime import UTC, datetime

    kept = path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    path.rename(kept)
    return kept


def _print(running: Invocation, settings: Settings, label: str, *, as_json: bool, kept: Path | None = None) -> None:
    from gateway.key_file import KeyFileRefused
    from gateway.signing import key_record, read_key, signing_domain

    section = settings.dkim
    domain = signing_domain(section, settings.support.domain)
    try:
        record = key_record(read_key(section.key_file).public_key(), label, domain)
    except KeyFileRefused as refused:
        refuse(str(refused))
    if as_json:
        print_json(
            {
                "key_file": str(section.key_file),
                "kept": None if kept is None else str(kept),
                "domain": domain,
                "selector": label,
                "name": record.name,
                "record": record.text,
                "strings": list(record.strings),
            }
        )
        return
    _print_text(running, record, label, section.selector, kept)


def _print_text(running: Invocation, record: KeyRecord, label: str, in_force: str, kept: Path | None) -> None:
    typer.echo(record.zone_line)
    notes = []
    if kept is not None:
        notes.append(running.text(ja=f"これまでの鍵: {kept}", en=f"the key until now: {kept}"))
    if label != in_force:
        notes.append(
            running.text(
                ja=f"設定 dkim.selector を {label} に変更してください（現在 {in_force}）",
                en=f"set dkim.selector to {label} (it is {in_force})",
            )
        )
    notes.append(
        running.text(
            ja="レコードを公開してから serve を再起動すると、署名が始まります",
            en="publish the record, then restart serve: it signs from its start on",
        )
    )
    for note in notes:
        typer.echo(note, err=True)
