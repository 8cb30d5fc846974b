"""`explain`: what a mail, address, handover value, receipt number, terminal or destination would do or did, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.explain_mails import show_mail, show_recipients, show_request, show_results
from gateway.cli.explain_words import BINDING_STATES, DIRECTIONS, ENDPOINTS, FATES, STATES, word
from gateway.cli.opening import OpenedStore, opened_store
from gateway.cli.options import AsJson
from gateway.cli.showing import instant, plain, printable

if TYPE_CHECKING:
    from handlers.address_explanations import AddressExplanation, Bound, DestinationExplanation, TerminalExplanation
    from handlers.explanations import Explanation, HandoverExplanation, ReceiptExplanation
    from handlers.lane_operations import LaneState


_LONGEST_NAME = 320


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
        refuse_before_tcc=settings.naccs.before_tcc == "refuse",
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


def _show_address(running: Invocation, address: AddressExplanation) -> None:
    typer.echo(running.text(ja=f"メールアドレス {address.address}", en=f"address {address.address}"))
    _show_bindings(running, address.bindings)
    if address.is_center:
        typer.echo(running.text(ja="  センターのアドレスです", en="  is the centre's own"))
        return
    bound = address.in_force
    lane = "" if bound is None else f"terminal:{bound.terminal}"
    place = "" if bound is None else f"{bound.ip_address}:{bound.port}"
    fate = word(running, FATES, address.fate).format(lane=lane, place=place)
    typer.echo(running.text(ja=f"  今届く結果: {fate}", en=f"  a result that comes now: {fate}"))
    replies = _replies(address)
    typer.echo(f"  MAIL FROM:<{address.address}> {address.may_send_from or '-'}: {replies['mail_from_its_peer']}")
    from_terminal = running.text(ja="端末から", en="terminal")
    typer.echo(f"  RCPT TO:<{address.address}> ({from_terminal}): {replies['rcpt_to_it_from_a_terminal']}")
    if address.destination is not None:
        show_lane(running, address.destination, "  ")
    for user in address.users:
        words = (user.code, user.identification_number, *user.procedures, user.hours)
        barred = running.text(ja=" 利用停止", en=" barred") if user.barred else ""
        closed = "" if user.open else running.text(ja=" 時間外", en=" closed now")
        typer.echo(f"  {' '.join(filter(None, words))}{barred}{closed}")
    for request in address.outstanding:
        show_request(running, request)
    _show_stuck(running, address.undelivered)
    for output in address.outputs:
        label = running.text(ja="出力先の登録", en="output")
        typer.echo(f"  {label} {output.output_code.rstrip()} {output.user_code or '*'} {_span(output)}")


def _show_bindings(running: Invocation, bindings: Iterable[Bound]) -> None:
    for bound in bindings:
        typer.echo(
            f"  {bound.address} {bound.terminal} {bound.office_code} {bound.ip_address or '-'}:{bound.port} "
            f"{bound.codec}  {_span(bound)} {word(running, BINDING_STATES, bound.state)}"
        )
        _show_owed_check(running, bound, "    ")


def _show_owed_check(running: Invocation, found: Bound | TerminalExplanation, indent: str) -> None:
    """That a new terminal has had no TCC, and what becomes of other procedures until then."""
    if not found.awaits_check:
        return
    typer.echo(indent + running.text(ja="通信確認（TCC）がまだです", en="its first TCC has not been made"))
    if found.refuses_before_check:
        typer.echo(
            indent
            + running.text(
                ja="それまでほかの業務は A0002 で断ります（設定 naccs.before_tcc = refuse）",
                en="until then other procedures get A0002 (setting naccs.before_tcc = refuse)",
            )
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
        paused = running.text(ja="一時停止", en="paused")
        who = f"{lane.paused.actor} {printable(lane.paused.reason)}".rstrip()
        typer.echo(f"{indent}  {paused} {instant(lane.paused.paused_at)} {who}")
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
        used, wanted = (word(running, ENDPOINTS, name) for name in (lane.endpoint, lane.wanted_endpoint))
        used = running.text(ja=f"使用中 {used}、指定 {wanted}", en=f"endpoint {used}, wanted {wanted}")
        typer.echo(f"{indent}  {used}{drill}")


def _show_terminal(running: Invocation, terminal: TerminalExplanation) -> None:
    place = f"{terminal.ip_address or '-'}:{terminal.port}"
    label = running.text(ja="論理端末", en="terminal")
    typer.echo(
        f"{label} {terminal.name} {terminal.equipment} {terminal.office_code} {terminal.router_number} {place}  "
        f"{_span(terminal)} {word(running, BINDING_STATES, terminal.state)}"
    )
    _show_owed_check(running, terminal, "  ")
    for_addresses = [replace(bound, awaits_check=False) for bound in terminal.addresses]  # it is said of the terminal
    _show_bindings(running, for_addresses)
    show_lane(running, terminal.destination, "  ")
    _show_stuck(running, terminal.undelivered)


def _show_destination(running: Invocation, found: DestinationExplanation) -> None:
    show_lane(running, found.destination)


def _show_handover(running: Invocation, found: HandoverExplanation) -> None:
    typer.echo(running.text(ja="電文引継情報 ", en="handover ") + printable(found.handover))
    for one in found.requests:
        show_request(running, one.request)
        show_recipients(running, one.hand_overs, "    ")
        show_results(running, one.results, "    ")


def _show_receipt(running: Invocation, found: ReceiptExplanation) -> None:
    state = running.text(
        ja=f"申込 {found.receipt_number} {found.status_ja}", en=f"application {found.receipt_number} {found.state}"
    )
    typer.echo(f"{state} {found.office_code} {found.start_date or '-'}")
    for terminal in found.terminals:
        typer.echo(f"  {terminal.name} {terminal.ip_address or '-'} {' '.join(terminal.mail_addresses)}")
    for mail in found.mails:
        at, direction, sender = (
            instant(mail.received_at),
            word(running, DIRECTIONS, mail.direction),
            printable(mail.mail_from),
        )
        typer.echo(
            running.text(
                ja=f"  メール {mail.id} {at} {direction} 差出人=<{sender}>",
                en=f"  mail {mail.id} {at} {direction} from=<{sender}>",
            )
        )
        for recipient in mail.recipients:
            state = word(running, STATES, recipient.state)
            typer.echo(f"    <{printable(recipient.rcpt_to)}> {state} {printable(recipient.last_reply)}".rstrip())


_SHOWN: dict[str, Callable[[Invocation, Any], None]] = {
    "mail": show_mail,
    "address": _show_address,
    "terminal": _show_terminal,
    "destination": _show_destination,
    "handover": _show_handover,
    "receipt": _show_receipt,
}
