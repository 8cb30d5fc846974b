"""`sample list|show|send`: the mails a tester tries the gateway with, each with what to expect of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.options import AsJson

if TYPE_CHECKING:
    from gateway.sandbox.dialogue import Dialogue, Exchange
    from gateway.sandbox.sample_mails import Sample
    from gateway.settings import Settings

Name = Annotated[str, typer.Argument(help="The sample, as `sample list` names it.")]
AsIs = Annotated[bool, typer.Option("--as-is", help="Leave the dates of the form as they are written.")]

app = typer.Typer(help="Sample mails: list them, show one, send one.", no_args_is_help=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a sample goes, from which IP, and how an in-house system behaves on the way."""

    host: str
    port: int
    bind: str | None
    helo: str
    pause: float


def register(root: typer.Typer) -> None:
    """Add the `sample` commands."""
    root.add_typer(app, name="sample")


@app.command("list")
def list_samples(context: typer.Context, as_json: AsJson = False) -> None:
    """List the samples with what to expect of each."""
    from gateway.sandbox.sample_mails import samples

    running = invocation(context)
    if as_json:
        print_json([_described(chosen) for chosen in samples()])
        return
    for chosen in samples():
        typer.echo(f"{chosen.name}  [{chosen.kind}]\n    {_expected(chosen, running)}")


@app.command()
def show(context: typer.Context, name: Name, as_is: AsIs = False, as_json: AsJson = False) -> None:
    """Write one sample to standard output: a form with dates that can be had, or an EDI message's bytes."""
    running = invocation(context)
    chosen = _find(name, running)
    content = _content(chosen, as_is=as_is)
    if as_json:
        print_json({**_described(chosen), "content": content.decode()})
        return
    typer.echo(f"{chosen.name}  [{chosen.kind}]  {_expected(chosen, running)}", err=True)
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


@app.command()
def send(
    context: typer.Context,
    name: Name,
    to: Annotated[str, typer.Option("--to", metavar="HOST:PORT", help="The listener to send to.")],
    mail_from: Annotated[str | None, typer.Option("--from", help="From and MAIL FROM.")] = None,
    rcpt_to: Annotated[str | None, typer.Option("--rcpt", help="To and RCPT TO; else the listener's own.")] = None,
    bind: Annotated[str | None, typer.Option(help="The IP to send from, such as the terminal's.")] = None,
    helo: Annotated[str, typer.Option(help="HELO name of the in-house system.")] = "60777S",
    pause: Annotated[float, typer.Option(min=0, help="Seconds it is silent before the dot.")] = 3.0,
    as_is: AsIs = False,
    as_json: AsJson = False,
) -> None:
    """Send one sample as its real sender would and print every reply."""
    running = invocation(context)
    chosen = _find(name, running)
    host, port = _host_and_port(to)
    destination = Destination(host=host, port=port, bind=bind, helo=helo, pause=pause)
    sender, recipient = _envelope(chosen, running.settings(), mail_from, rcpt_to)
    hear = _say_nothing if as_json else _say
    try:
        dialogue = _deliver(chosen, destination, sender, recipient, as_is=as_is, hear=hear)
    except OSError as error:
        refuse(f"{to}: {error}")
    if as_json:
        print_json(_sent(chosen, sender, recipient, dialogue))
    elif dialogue.accepted:
        typer.echo(_expected(chosen, running))
    if not dialogue.accepted:
        raise typer.Exit(1)


def _deliver(
    chosen: Sample, destination: Destination, sender: str, recipient: str, *, as_is: bool, hear: Any
) -> Dialogue:
    from gateway.sandbox.applicant_client import ApplicantClient
    from gateway.sandbox.in_house_client import KnownClient, Parcel
    from gateway.sandbox.sample_mails import SampleKind, application_mail, edi_mail

    host, port, bind = destination.host, destination.port, destination.bind
    if chosen.kind is SampleKind.APPLICATION:
        now = datetime.now(UTC)
        mail = application_mail(chosen, mail_from=sender, rcpt_to=recipient, now=now, as_is=as_is)
        return ApplicantClient(host, port, bind=bind, listener=hear).send(mail, mail_from=sender, rcpt_to=recipient)
    mail = edi_mail(chosen, mail_from=sender, rcpt_to=recipient)
    client = KnownClient(host, port, bind=bind, helo=destination.helo, pause=destination.pause, listener=hear)
    return client.send(Parcel(mail_from=sender, rcpt_to=recipient, mail=mail))


def _envelope(chosen: Sample, settings: Settings, mail_from: str | None, rcpt_to: str | None) -> tuple[str, str]:
    """Sender and recipient: what was asked for, else what the sample's real sender would use."""
    from gateway.sandbox import sample_mails
    from gateway.sandbox.sample_mails import SampleKind

    if chosen.kind is SampleKind.APPLICATION:
        sender = sample_mails.applicant_address(chosen)
        return mail_from or sender, rcpt_to or f"apply@{settings.support.domain}"
    if chosen.kind is SampleKind.REQUEST:
        sender, recipient = sample_mails.FIRST_ISSUED_ADDRESS, settings.center.address
    elif chosen.kind is SampleKind.RESULT:
        sender, recipient = settings.backend.address, sample_mails.result_address(chosen)
    else:
        sender = sample_mails.header_address(chosen, "From")
        recipient = sample_mails.header_address(chosen, "To")
    # Upper-case: a known client blanks EDI items that hold lower-case letters.
    return (mail_from or sender).upper(), rcpt_to or recipient


def _content(chosen: Sample, *, as_is: bool) -> bytes:
    from gateway.sandbox.sample_mails import SampleKind, form, wished_start
    from handlers.calendar import jst_date

    if chosen.kind is not SampleKind.APPLICATION:
        return chosen.content
    start = None if as_is else wished_start(jst_date(datetime.now(UTC)))
    return form(chosen, start=start).encode()


def _find(name: str, running: Invocation) -> Sample:
    from gateway.sandbox.sample_mails import UnknownSample, sample

    try:
        return sample(name)
    except UnknownSample:
        refuse(
            running.text(
                ja=f"見本 {name} はありません。`sample list` で一覧を表示します。",
                en=f"no sample is named {name}; `sample list` names them",
            )
        )


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"not HOST:PORT: {text}", param_hint="--to")
    return host.strip("[]"), int(port)


def _described(chosen: Sample) -> dict[str, Any]:
    return {
        "name": chosen.name,
        "kind": str(chosen.kind),
        "expect": {"ja": chosen.expect.ja, "en": chosen.expect.en},
    }


def _sent(chosen: Sample, sender: str, recipient: str, dialogue: Dialogue) -> dict[str, Any]:
    return {
        **_described(chosen),
        "mail_from": sender,
        "rcpt_to": recipient,
        "accepted": dialogue.accepted,
        "dialogue": [{"said": exchange.said, "reply": exchange.reply} for exchange in dialogue.exchanges],
    }


def _expected(chosen: Sample, running: Invocation) -> str:
    return running.text(ja=chosen.expect.ja, en=chosen.expect.en)


def _say(exchange: Exchange) -> None:
    if exchange.said:
        typer.echo(f"C: {exchange.said}")
    typer.echo(f"S: {exchange.reply or '(no reply)'}")


def _say_nothing(exchange: Exchange) -> None:
    """With --json the dialogue is in the document."""
