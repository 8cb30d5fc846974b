"""`application reveal-passwords|reissue-password`: issued passwords, for a reviewer; each view is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.application_refusals import refusal_text
from gateway.cli.deciding import Deciding, carry_out, decision
from gateway.cli.opening import SudoUid, actor, opened_store
from gateway.cli.options import AsJson, Receipt, with_lists

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.orm import Session

    from handlers.issued_secrets import Hidden, Revealed

# Why passwords are not shown, in Japanese and English.
HIDDEN: dict[str, tuple[str, str]] = {
    "not_issued": ("この申込で発行したパスワードはありません。", "no password was issued for this application"),
    "window_closed": (
        "参照期間（{until}まで）が終わりました。application reissue-password で再発行してください。",
        "passwords could be seen until {until}; issue them again with application reissue-password",
    ),
    "gone": (
        "パスワードは破棄されました。application reissue-password で再発行してください。",
        "the passwords were destroyed; issue them again with application reissue-password",
    ),
    "taken_back": (
        "この申込は無効になり、発行したIDは取り消されました。パスワードは破棄され、参照も再発行もできません。",
        "the application is void and its IDs were taken back; its passwords are gone for good",
    ),
}
_KINDS = {
    "office_password": ("事業所パスワード", "office password"),
    "terminal_access_key": ("端末アクセスキー", "terminal access key"),
}


def register(application_app: typer.Typer) -> None:
    """Add the commands of this module to `application`."""
    application_app.command("reveal-passwords")(reveal_passwords)
    application_app.command("reissue-password")(reissue_password)


def reveal_passwords(
    context: typer.Context, receipt: Receipt, as_json: AsJson = False, sudo_uid: SudoUid = None
) -> None:
    """Show the passwords issued with an application, within their window. Who looked is recorded."""
    from handlers.issued_secrets import Hidden

    running = invocation(context)
    found, until = _reveal(running, receipt, actor(sudo_uid))
    if isinstance(found, Hidden):
        ja, en = HIDDEN[found]
        refuse(running.text(ja=ja, en=en).format(until=until))
    if as_json:
        print_json(
            {
                "passwords_until": None if until is None else until.isoformat(),
                "passwords": [{"kind": str(one.kind), "terminal": one.terminal, "value": one.value} for one in found],
            }
        )
        return
    for one in found:
        ja, en = _KINDS[one.kind]
        typer.echo(f"{running.text(ja=ja, en=en)}  {one.terminal or '-'}  {one.value}")


@with_lists
def reissue_password(context: typer.Context, receipt: Receipt, options: Deciding) -> None:
    """Issue every password of an application anew and open a new window, told by mail."""
    done = (
        "{receipt} パスワードを再発行しました。参照期間は {until} までです。",
        "{receipt} the passwords were issued anew and can be seen until {until}",
    )
    carry_out(decision(context, receipt, "reissue_secrets", options, done))


def _reveal(running: Invocation, receipt: str, by: str) -> tuple[tuple[Revealed, ...] | Hidden, date | None]:
    from handlers import issued_secrets
    from handlers.calendar import jst_date
    from handlers.review_case import Reason, Refusal
    from handlers.reviews import find

    with opened_store(running) as opened:
        desk, now = opened.desk(), opened.now()
        calendar = opened.calendar(jst_date(now))

        def work(session: Session) -> tuple[tuple[Revealed, ...] | Hidden, date | None] | None:
            application = find(session, receipt)
            if application is None:
                return None
            shown = issued_secrets.reveal(session, desk, application, by, now, calendar)
            return shown, issued_secrets.last_day(application, calendar)

        result = opened.store.run(work)
    if result is None:
        refuse(refusal_text(running, Refusal(Reason.NOT_FOUND, receipt)))
    return result
