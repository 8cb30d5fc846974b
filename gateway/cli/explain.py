"""`explain`: what a mail, address, handover value, receipt number, terminal or destination would do or did, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.opening import OpenedStore, opened_store
from gateway.cli.showing import instant, plain, printable

if TYPE_CHECKING:
    from handlers.address_explanations import AddressExplanation, Bound, DestinationExplanation, TerminalExplanation
    from handlers.explanations import Explanation, HandoverExplanation, ReceiptExplanation
    from handlers.lane_operations import LaneState
    from handlers.mail_explanations import CodeText, MailExplanation, RecipientState, RequestState

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]

_LONGEST_NAME = 320

# What a recipient waits for or why it ended, in Japanese and English.
WHY: dict[str, tuple[str, str]] = {
    "next": ("次に処理します", "is next"),
    "behind": ("前に {ahead} 通あります", "{ahead} stand before it"),
    "deferred": ("{when} に再試行します", "tried again at {when}"),
    "paused": ("宛先が一時停止中です（destination resume）", "its destination is paused (destination resume)"),
    "work": (
        "申込 {receipt} の回線工事が終わる {when} まで待ちます",
        "waits until {when} for the work on its line, application {receipt}",
    ),
    "down": ("宛先が応答しません。次の試行 {when}", "its destination does not answer; next try {when}"),
    "unbound": (
        "アドレスは今日この端末に割り当てられておらず、未送信になります",
        "its address does not lead to this terminal today, so it will be undelivered",
    ),
    "address_busy": (
        "同じアドレスの処理結果を待っています（{when} まで）",
        "waits for the result of its address's earlier request, until {when}",
    ),
    "received": ("処理を待っています", "waits to be handled"),
    "handled": ("処理しました", "handled"),
    "refused": ("断りました", "refused"),
    "duplicate": ("同じメールが届いていました", "the same mail had come before"),
    "held": ("審査担当者の確認を待っています", "waits for a reviewer"),
    "parked": ("保留中です（mail release で解除）", "set aside (mail release lets it go)"),
    "expired": ("有効時間を過ぎました", "its life had passed"),
    "queued": ("送信を待っています", "waits to be sent"),
    "delivered": ("相手が受け取りました", "its peer took it"),
    "undelivered": (
        "未送信です（SYG、terminal undelivered または mail resend で再送）",
        "not delivered (SYG, terminal undelivered or mail resend sends it again)",
    ),
    "failed": ("相手が断りました", "its peer refused it for good"),
    "cancelled": ("取り消しました", "withdrawn by an operator"),
}

# Instead of `expired`, where the life of a hand-over had not passed: a try ended in doubt.
MAY_HAVE_ARRIVED = ("届いた可能性があるため、再送しません", "it may have arrived, so it is not sent again")

# What becomes of a message to an address that comes from the backend now.
FATES: dict[str, tuple[str, str]] = {
    "delivered": ("{lane} へ送ります（{place}）", "goes to {lane} at {place}"),
    "waits": ("{lane} で待ちます（{place}）", "waits in {lane} for {place}"),
    "undelivered": ("端末にIPアドレスがなく、未送信になります", "becomes undelivered: the terminal has no IP address"),
    "parked": (
        "250で受け取り、保留して運用者に知らせます",
        "is taken with 250, parked, and an operator is told",
    ),
}

REQUEST_STATES: dict[str, tuple[str, str]] = {
    "waiting": ("引き渡し前", "not handed over yet"),
    "handed_over": ("処理結果待ち", "handed over, waits for its result"),
    "in_doubt": ("届いたか不明", "in doubt: it may have arrived"),
    "answered": ("返信済み", "answered"),
    "given_up": ("処理結果なし", "no result came"),
}


def register(root: typer.Typer) -> None:
    """Add the command of this module."""
    root.command("explain")(explain)


def explain(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            help="A mail id, mail address, handover value (電文引継情報), receipt number, terminal, or backend."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Say what something would do or did, by which map version, every try in the peer's own words, and what comes next.

    A name may mean several things; all of them are told.
    """
    if not what.strip() or len(what) > _LONGEST_NAME:
        raise typer.BadParameter("name something of up to 320 characters", param_hint="WHAT")
    running = invocation(context)
    with opened_store(running) as opened:
        found = _explained(opened, what)
    if not found:
        _refuse_unknown(running, printable(what))
    if as_json:
        print_json({"what": what, "matches": [_json(one) for one in found]})
        return
    for one in found:
        _SHOWN[one.kind](running, one)


def _refuse_unknown(running: Invocation, what: str) -> NoReturn:
    from gateway.smtp_replies import UNKNOWN_ADDRESS

    if "@" not in what:
        refuse(
            running.text(
                ja=f"{what} に当たるメール・電文引継情報・申込・端末・宛先はありません",
                en=f"there is no mail, handover, application, terminal or destination {what}",
            )
        )
    reply = UNKNOWN_ADDRESS.wire.decode("ascii").rstrip()
    refuse(
        running.text(
            ja=f"メールアドレス {what} はありません。端末には {reply}、バックエンドからは 250 で受け取り保留します",
            en=f"there is no mail address {what}: a terminal gets {reply}, what the backend sends there is parked",
        )
    )


def _explained(opened: OpenedStore, what: str) -> list[Explanation]:
    from handlers import explanations
    from handlers.address_explanations import Circumstances

    settings = opened.settings
    circumstances = Circumstances(
        now=opened.now(),
        center_address=settings.center.address,
        terminals_domain=settings.naccs.terminals_domain,
        terminal_port=settings.naccs.terminal_port,
        service_hours=settings.naccs.service_hours,
        smarthost_lanes=settings.smarthost.lanes,
        retention=timedelta(seconds=settings.delivery.undelivered_retention),
    )
    return opened.store.read(lambda session: explanations.explain(session, what, circumstances))


def _json(one: Explanation) -> dict[str, Any]:
    shown: dict[str, Any] = plain(one)
    return shown | {"replies": _replies(one)} if one.kind == "address" else shown


def _replies(one: Any) -> dict[str, str | None]:
    """What the NACCS listener answers: to its own mails from another peer, and to terminals that write to it."""
    from gateway.smtp_replies import NOT_PERMITTED, RECIPIENT_OK, SENDER_OK

    def line(reply: Any) -> str:
        return str(reply.wire.decode("ascii").rstrip())

    return {
        "mail_from_its_peer": line(SENDER_OK if one.may_send_from else NOT_PERMITTED),
        "mail_from_another_peer": line(NOT_PERMITTED),
        "rcpt_to_it_from_a_terminal": line(RECIPIENT_OK if one.is_center else NOT_PERMITTED),
        "rcpt_to_it_from_the_backend": line(RECIPIENT_OK),
    }


def _show_mail(running: Invocation, mail: MailExplanation) -> None:
    typer.echo(f"mail {mail.id}: {mail.direction}, {mail.listener}, from=<{printable(mail.mail_from)}>")
    typer.echo(f"  received {instant(mail.received_at)} from peer {mail.peer or '-'}, {mail.size} bytes")
    if mail.unmatched:
        typer.echo(running.text(ja="  対応する要求がありません", en="  matches no request"))
    for request in mail.requests:
        _show_request(running, request)
    _show_codes(running, mail.codes, "  ")
    _show_recipients(running, mail.recipients, "  ")


def _show_codes(running: Invocation, codes: Iterable[CodeText], indent: str) -> None:
    for code in codes:
        text = running.text(ja=f"{code.cause_ja}。{code.action_ja}", en=f"{code.cause_en}. {code.action_en}")
        typer.echo(f"{indent}{printable(code.code)}: {text}")


def _show_request(running: Invocation, request: RequestState, indent: str = "  ") -> None:
    ja, en = REQUEST_STATES[request.state]
    typer.echo(
        f"{indent}request {request.request_id} (mail {request.mail_id}) {request.procedure} "
        f"{request.handover} {request.input_number}: {running.text(ja=ja, en=en)}"
    )
    if request.before_check:
        typer.echo(
            indent
            + running.text(ja="  疎通確認（TCC）の前の業務です", en="  came before the first TCC of its terminal")
        )
    times = ("received_at", "claimed_at", "outstanding_until", "late_at", "overdue_at", "answered_at")
    shown = [f"{name} {instant(getattr(request, name))}" for name in times if getattr(request, name) is not None]
    typer.echo(f"{indent}  {', '.join(shown)}")


def _show_recipients(running: Invocation, recipients: Iterable[RecipientState], indent: str) -> None:
    for recipient in recipients:
        ja, en = MAY_HAVE_ARRIVED if recipient.why == "expired" and recipient.in_doubt else WHY[recipient.why]
        when = instant(recipient.next_try_at)
        receipt = "" if recipient.work is None else recipient.work.receipt_number
        why = running.text(ja=ja, en=en).format(ahead=recipient.ahead, when=when, receipt=receipt)
        typer.echo(
            f"{indent}<{printable(recipient.rcpt_to)}> {recipient.state} since {instant(recipient.since)}: {why}"
        )
        typer.echo(f"{indent}  lane {recipient.destination or '-'}, map version {recipient.map_version}")
        reply = printable(recipient.last_reply) or "-"
        doubt = f", {recipient.in_doubt} in doubt" if recipient.in_doubt else ""
        typer.echo(f"{indent}  attempts {recipient.attempts}{doubt}, last: {reply}")
        for one in recipient.tries:
            typer.echo(f"{indent}  {instant(one.at)} {one.outcome} at {one.stage}: {printable(one.reply)}")


def _show_address(running: Invocation, address: AddressExplanation) -> None:
    typer.echo(f"address {address.address}")
    _show_bindings(running, address.bindings)
    if address.is_center:
        typer.echo(running.text(ja="  センターのアドレスです", en="  is the centre's own"))
        return
    bound = address.in_force
    lane = "" if bound is None else f"terminal:{bound.terminal}"
    place = "" if bound is None else f"{bound.ip_address}:{bound.port}"
    ja, en = FATES[address.fate]
    fate = running.text(ja=ja, en=en).format(lane=lane, place=place)
    typer.echo(running.text(ja=f"  今届く結果: {fate}", en=f"  a result that comes now: {fate}"))
    replies = _replies(address)
    typer.echo(f"  MAIL FROM:<{address.address}> {address.may_send_from or '-'}: {replies['mail_from_its_peer']}")
    typer.echo(f"  RCPT TO:<{address.address}> (terminal): {replies['rcpt_to_it_from_a_terminal']}")
    if address.destination is not None:
        show_lane(running, address.destination, "  ")
    for user in address.users:
        words = (user.code, user.identification_number, *user.procedures, user.hours)
        barred = running.text(ja=" 利用停止", en=" barred") if user.barred else ""
        closed = "" if user.open else running.text(ja=" 時間外", en=" closed now")
        typer.echo(f"  {' '.join(filter(None, words))}{barred}{closed}")
    for request in address.outstanding:
        _show_request(running, request)
    _show_stuck(running, address.undelivered)
    for output in address.outputs:
        typer.echo(f"  output {output.output_code} {output.user_code or '*'} {_span(output)}")


def _show_bindings(running: Invocation, bindings: Iterable[Bound]) -> None:
    states = {"in_force": ("有効", "in force"), "ended": ("終了", "ended"), "coming": ("予定", "coming")}
    for bound in bindings:
        ja, en = states[bound.state]
        typer.echo(
            f"  {bound.address} {bound.terminal} {bound.office_code} {bound.ip_address or '-'}:{bound.port} "
            f"{bound.codec}  {_span(bound)} {running.text(ja=ja, en=en)}"
        )


def _span(dated: Any) -> str:
    return f"{dated.effective_from} - {dated.effective_until or ''}".rstrip()


def _show_stuck(running: Invocation, kinds: Iterable[Any]) -> None:
    for kind in kinds:
        typer.echo(
            running.text(
                ja=f"  未送信 {kind.output_code} {kind.count}", en=f"  undelivered {kind.output_code} {kind.count}"
            )
        )


def show_lane(running: Invocation, lane: LaneState, indent: str = "") -> None:
    """One destination as it stands, on as many lines as it has something to say."""
    counted = running.text(
        ja=f"待ち {lane.queued}  未送信 {lane.undelivered}", en=f"queued {lane.queued}  undelivered {lane.undelivered}"
    )
    since = instant(lane.oldest_waiting_since)
    oldest = "" if lane.oldest_waiting_since is None else running.text(ja=f" 最古 {since}", en=f" oldest {since}")
    typer.echo(f"{indent}{lane.lane}  {counted}{oldest}")
    if lane.paused is not None:
        word = running.text(ja="一時停止", en="paused")
        who = f"{lane.paused.actor} {printable(lane.paused.reason)}".rstrip()
        typer.echo(f"{indent}  {word} {instant(lane.paused.paused_at)} {who}")
    if lane.work is not None:
        window = f"{instant(lane.work.begins_at)} - {instant(lane.work.ends_at)}"
        work = running.text(
            ja=f"回線工事 申込 {lane.work.receipt_number}",
            en=f"work on the line, application {lane.work.receipt_number}",
        )
        typer.echo(f"{indent}  {work}  {window}")
    if lane.down_since is not None:
        since, following = instant(lane.down_since), instant(lane.next_try_at)
        down = running.text(
            ja=f"応答なし {since} から、試行 {lane.failures} 回、次は {following}",
            en=f"down since {since}, {lane.failures} tries, next {following}",
        )
        typer.echo(f"{indent}  {down}: {printable(lane.last_failure)}")
    if lane.endpoint:
        until = "" if lane.drill_until is None else instant(lane.drill_until)
        drill = until and running.text(ja=f"、訓練 {until} まで", en=f", drill until {until}")
        used = running.text(
            ja=f"使用中 {lane.endpoint}、指定 {lane.wanted_endpoint}",
            en=f"endpoint {lane.endpoint}, wanted {lane.wanted_endpoint}",
        )
        typer.echo(f"{indent}  {used}{drill}")


def _show_terminal(running: Invocation, terminal: TerminalExplanation) -> None:
    place = f"{terminal.ip_address or '-'}:{terminal.port}"
    typer.echo(
        f"terminal {terminal.name} {terminal.equipment} {terminal.office_code} {terminal.router_number} {place}  "
        f"{_span(terminal)}"
    )
    if terminal.awaits_check:
        typer.echo(running.text(ja="  疎通確認（TCC）がまだです", en="  its first TCC has not been made"))
    _show_bindings(running, terminal.addresses)
    show_lane(running, terminal.destination, "  ")
    _show_stuck(running, terminal.undelivered)


def _show_destination(running: Invocation, found: DestinationExplanation) -> None:
    show_lane(running, found.destination)


def _show_handover(running: Invocation, found: HandoverExplanation) -> None:
    typer.echo(f"handover {printable(found.handover)}")
    for one in found.requests:
        _show_request(running, one.request)
        _show_recipients(running, one.hand_overs, "    ")
        for result in one.results:
            typer.echo(f"    result mail {result.mail_id} {instant(result.received_at)}")
            _show_codes(running, result.codes, "      ")
            _show_recipients(running, result.deliveries, "      ")


def _show_receipt(running: Invocation, found: ReceiptExplanation) -> None:
    state = running.text(ja=found.status_ja, en=found.state)
    typer.echo(f"application {found.receipt_number} {state} {found.office_code} {found.start_date or '-'}")
    for terminal in found.terminals:
        typer.echo(f"  {terminal.name} {terminal.ip_address or '-'} {' '.join(terminal.mail_addresses)}")
    for mail in found.mails:
        typer.echo(f"  mail {mail.id} {instant(mail.received_at)} {mail.direction} from=<{printable(mail.mail_from)}>")
        for recipient in mail.recipients:
            typer.echo(
                f"    <{printable(recipient.rcpt_to)}> {recipient.state} {printable(recipient.last_reply)}".rstrip()
            )


_SHOWN: dict[str, Callable[[Invocation, Any], None]] = {
    "mail": _show_mail,
    "address": _show_address,
    "terminal": _show_terminal,
    "destination": _show_destination,
    "handover": _show_handover,
    "receipt": _show_receipt,
}
