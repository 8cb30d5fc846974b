"""How `explain` shows a mail as text: its requests, their results, what each recipient waits for and every try."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from gateway.cli import Invocation
from gateway.cli.explain_words import (
    DIRECTIONS,
    LISTENERS,
    MAY_HAVE_ARRIVED,
    OUTCOMES,
    REQUEST_STATES,
    REQUEST_TIMES,
    STAGES,
    STATES,
    WHY,
    word,
)
from gateway.cli.showing import instant, printable

if TYPE_CHECKING:
    from handlers.mail_explanations import CodeText, MailExplanation, RequestState, ResultMail
    from handlers.recipient_explanations import RecipientState


def show_mail(running: Invocation, mail: MailExplanation) -> None:
    """One mail with its recipients, the requests it is or answers, and what came back for them."""
    direction, listener = word(running, DIRECTIONS, mail.direction), word(running, LISTENERS, mail.listener)
    sender, peer, at = printable(mail.mail_from), mail.peer or "-", instant(mail.received_at)
    typer.echo(
        running.text(
            ja=f"メール {mail.id}: {direction}、{listener}、差出人=<{sender}>",
            en=f"mail {mail.id}: {direction}, {listener}, from=<{sender}>",
        )
    )
    typer.echo(
        running.text(
            ja=f"  日時 {at}、接続元 {peer}、{mail.size} バイト",
            en=f"  received {at} from peer {peer}, {mail.size} bytes",
        )
    )
    if mail.unmatched:
        typer.echo(running.text(ja="  対応する要求がありません", en="  matches no request"))
    for request in mail.requests:
        show_request(running, request)
    _show_codes(running, mail.codes, "  ")
    show_recipients(running, mail.recipients, "  ")
    show_results(running, mail.results, "  ")


def show_results(running: Invocation, results: Iterable[ResultMail], indent: str) -> None:
    """The results of a request, what their codes say and where they went."""
    for result in results:
        at = instant(result.received_at)
        typer.echo(
            running.text(
                ja=f"{indent}処理結果 メール {result.mail_id} {at}", en=f"{indent}result mail {result.mail_id} {at}"
            )
        )
        _show_codes(running, result.codes, f"{indent}  ")
        show_recipients(running, result.deliveries, f"{indent}  ")


def _show_codes(running: Invocation, codes: Iterable[CodeText], indent: str) -> None:
    for code in codes:
        text = running.text(ja=f"{code.cause_ja}。{code.action_ja}", en=f"{code.cause_en}. {code.action_en}")
        typer.echo(f"{indent}{printable(code.code)}: {text}")


def show_request(running: Invocation, request: RequestState, indent: str = "  ") -> None:
    """One request: how it stands, and its times."""
    what = f"{request.procedure} {printable(request.handover)} {printable(request.input_number)}"
    state = word(running, REQUEST_STATES, request.state)
    typer.echo(
        running.text(
            ja=f"{indent}要求 {request.request_id}（メール {request.mail_id}） {what}: {state}",
            en=f"{indent}request {request.request_id} (mail {request.mail_id}) {what}: {state}",
        )
    )
    if request.before_check:
        before = running.text(ja="通信確認（TCC）の前の業務です", en="came before the first TCC of its terminal")
        typer.echo(f"{indent}  {before}")
    if request.refused_by:
        setting = f"{request.refused_by} = refuse"
        refused = running.text(ja=f"設定 {setting} により断りました", en=f"refused by the setting {setting}")
        typer.echo(f"{indent}  {refused}")
    times = [
        f"{word(running, REQUEST_TIMES, name)} {instant(getattr(request, name))}"
        for name in REQUEST_TIMES
        if getattr(request, name) is not None
    ]
    typer.echo(f"{indent}  {running.text(ja='、', en=', ').join(times)}")


def show_recipients(running: Invocation, recipients: Iterable[RecipientState], indent: str) -> None:
    """Each recipient: its state and why, and every try."""
    for recipient in recipients:
        _show_recipient(running, recipient, indent)


def _show_recipient(running: Invocation, recipient: RecipientState, indent: str) -> None:
    ja, en = MAY_HAVE_ARRIVED if recipient.why == "expired" and recipient.in_doubt else WHY[recipient.why]
    when = instant(recipient.next_try_at)
    receipt = "" if recipient.work is None else recipient.work.receipt_number
    why = running.text(ja=ja, en=en).format(ahead=recipient.ahead, when=when, receipt=receipt)
    state, since = word(running, STATES, recipient.state), instant(recipient.since)
    rcpt_to = printable(recipient.rcpt_to)
    typer.echo(
        indent
        + running.text(ja=f"<{rcpt_to}> {state} {since} から: {why}", en=f"<{rcpt_to}> {state} since {since}: {why}")
    )
    lane, version = recipient.destination or "-", "-" if recipient.map_version is None else recipient.map_version
    typer.echo(
        indent + running.text(ja=f"  宛先 {lane}、登録情報の版 {version}", en=f"  lane {lane}, map version {version}")
    )
    reply = printable(recipient.last_reply) or "-"
    doubt_ja = f"、うち届いたか不明 {recipient.in_doubt} 回" if recipient.in_doubt else ""
    doubt_en = f", {recipient.in_doubt} in doubt" if recipient.in_doubt else ""
    typer.echo(
        indent
        + running.text(
            ja=f"  試行 {recipient.attempts} 回{doubt_ja}、最後の記録: {reply}",
            en=f"  attempts {recipient.attempts}{doubt_en}, last: {reply}",
        )
    )
    for one in recipient.tries:
        outcome, stage, words = (
            word(running, OUTCOMES, one.outcome),
            word(running, STAGES, one.stage),
            printable(one.reply),
        )
        tried = running.text(ja=f"{stage}で{outcome}: {words}", en=f"{outcome} at {stage}: {words}")
        typer.echo(f"{indent}  {instant(one.at)} {tried}")
