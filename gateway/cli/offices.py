"""`office import|list|show`, `terminal list` and `address list`: the map as operators fill and read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gateway.cli import Invocation, invocation, print_json, refuse
from gateway.cli.faults import show_faults
from gateway.cli.opening import SudoUid, actor, opened_store

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from handlers.contracts import Contracts, ImportReport
    from storage.models import LogicalTerminal, MailAddress, Office

office_app = typer.Typer(no_args_is_help=True, help="Contracting offices: import them, list them, show one.")
terminal_app = typer.Typer(no_args_is_help=True, help="Logical terminals.")
address_app = typer.Typer(no_args_is_help=True, help="SMTP mail addresses.")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
OfOffice = Annotated[str | None, typer.Option("--office", help="Only those of the office with this code.")]


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    root.add_typer(office_app, name="office")
    root.add_typer(terminal_app, name="terminal")
    root.add_typer(address_app, name="address")


@office_app.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The office file.")],
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Bring offices, lines, terminals, users and contacts to what a TOML file says, all of it or nothing.

    Importing a file again changes nothing. What the file no longer names stays. A new terminal takes effect today.
    """
    from handlers.contracts import ContractsRefused

    running = invocation(context)
    try:
        contracts = _read(file)
        report = _import(running, contracts, actor(sudo_uid))
    except ContractsRefused as refused:
        show_faults(running, refused.faults, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        print_json(_report_json(report))
    else:
        _show_report(running, report)


def _read(file: Path) -> Contracts:
    from handlers.contracts import ContractsRefused, Fault, read_contracts

    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractsRefused((Fault(place=str(file), rule="toml", value=str(error)),)) from None
    return read_contracts(text)


def _import(running: Invocation, contracts: Contracts, by: str) -> ImportReport:
    from handlers.contracts import hash_contract_passwords, import_contracts, known_password_hashes

    with opened_store(running) as opened:
        desk, now = opened.desk(), opened.now()
        known = opened.store.read(lambda session: known_password_hashes(session, contracts))
        # Slow on purpose, so done before anybody has to wait for the store.
        hashes = hash_contract_passwords(contracts, known)
        return opened.store.run(
            lambda session: import_contracts(session, contracts, desk, now, actor=by, password_hashes=hashes)
        )


def _report_json(report: ImportReport) -> dict[str, Any]:
    return {
        "added": dict(report.added),
        "updated": dict(report.updated),
        "ended": list(report.ended),
        "map_version": None if report.map_version is None else str(report.map_version),
    }


_KINDS_JA = {
    "offices": "事業所",
    "contacts": "担当者",
    "lines": "回線",
    "logical_terminals": "論理端末",
    "mail_addresses": "メールアドレス",
    "office_users": "利用者",
}


def _show_report(running: Invocation, report: ImportReport) -> None:
    if report.map_version is None:
        typer.echo(running.text(ja="変更はありません。", en="nothing to change"))
    for done, ja, en in ((report.added, "追加", "added"), (report.updated, "更新", "updated")):
        for kind, number in done.items():
            typer.echo(
                running.text(ja=f"{ja} {_KINDS_JA[kind]} {number}", en=f"{en}: {kind.replace('_', ' ')} {number}")
            )
    for name in report.ended:
        typer.echo(
            running.text(
                ja=f"論理端末 {name} は削除済みのため、そのままにしました。",
                en=f"terminal {name} was deleted since and stays so",
            ),
            err=True,
        )


@office_app.command("list")
def list_offices(context: typer.Context, as_json: AsJson = False) -> None:
    """List the offices."""
    with opened_store(invocation(context)) as opened:
        offices = opened.store.read(_offices)
    if as_json:
        print_json(offices)
        return
    for office in offices:
        typer.echo(f"{office['code']:8}  {office['company_name']} {office['name']}  {office['administrator_email']}")


def _offices(session: Session) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from storage.models import Office

    return [_office(row) for row in session.scalars(select(Office).order_by(Office.code))]


def _office(row: Office) -> dict[str, Any]:
    return {
        "code": row.code,
        "company_name": row.company_name,
        "company_abbreviation": row.company_abbreviation,
        "name": row.name,
        "system_class": row.system_class,
        "customs_office": row.customs_office,
        "billing_code": row.billing_code,
        "administrator_name": row.administrator_name,
        "administrator_email": row.administrator_email,
    }


@office_app.command("show")
def show_office(context: typer.Context, code: str, as_json: AsJson = False) -> None:
    """Show one office with its contacts, lines, terminals and users; passwords never."""
    running = invocation(context)
    with opened_store(running) as opened:
        port = opened.settings.naccs.terminal_port
        office = opened.store.read(lambda session: _whole_office(session, code, port))
    if office is None:
        _no_office(running, code)
    if as_json:
        print_json(office)
        return
    _show_office(running, office)


_LABELS_JA = {
    "code": "事業所コード",
    "company_name": "企業名",
    "company_abbreviation": "企業略称",
    "name": "事業所名",
    "system_class": "システム区分",
    "customs_office": "管轄税関",
    "billing_code": "請求先コード",
    "administrator_name": "システム管理責任者",
    "administrator_email": "システム管理責任者 E-mailアドレス",
}


def _show_office(running: Invocation, office: dict[str, Any]) -> None:
    for key, label in _LABELS_JA.items():
        typer.echo(f"{running.text(ja=label, en=key.replace('_', ' '))}: {office[key]}")
    for contact in office["contacts"]:
        label = running.text(ja="申込担当者", en="contact")
        typer.echo(f"{label}: {contact['name']} <{contact['email']}>")
    for line in office["lines"]:
        label = running.text(ja="回線 ルータ番号", en="line, router number")
        typer.echo(f"{label}: {line['router_number']} {line['lan_subnet']}")
        for terminal in line["terminals"]:
            _show_terminal(terminal, indent="  ")
    for user in office["users"]:
        label = running.text(ja="利用者コード・識別番号", en="user code and identification number")
        barred = running.text(ja="利用停止", en="barred") if user["barred"] else ""
        words = (user["code"], user["identification_number"], *user["procedures"], user["service_hours"], barred)
        typer.echo(f"{label}: {' '.join(filter(None, words))}")


def _no_office(running: Invocation, code: str) -> NoReturn:
    refuse(running.text(ja=f"事業所 {code} はありません。", en=f"there is no office {code}"))


def _whole_office(session: Session, code: str, port: int) -> dict[str, Any] | None:
    from sqlalchemy import select

    from storage.models import Office, OfficeUser

    row = session.scalars(select(Office).where(Office.code == code)).first()
    if row is None:
        return None
    users = session.scalars(select(OfficeUser).where(OfficeUser.office_id == row.id).order_by(OfficeUser.id))
    return {
        **_office(row),
        "contacts": [
            {"name": person.name, "department": person.department, "phone": person.phone, "email": person.email}
            for person in sorted(row.contacts, key=lambda person: person.id)
        ],
        "lines": [
            {
                "router_number": line.router_number,
                "lan_subnet": line.lan_subnet,
                "spare_router": line.spare_router,
                "terminals": [
                    _terminal(terminal, port) for terminal in sorted(line.terminals, key=lambda terminal: terminal.name)
                ],
            }
            for line in sorted(row.lines, key=lambda line: line.router_number)
        ],
        "users": [
            {
                "code": user.code,
                "identification_number": user.identification_number,
                "procedures": user.procedures.split(),
                "service_hours": user.service_hours,
                "barred": user.barred,
            }
            for user in users
        ],
    }


@terminal_app.command("list")
def list_terminals(context: typer.Context, office: OfOffice = None, as_json: AsJson = False) -> None:
    """List logical terminals with their mail addresses, ended ones too."""
    running = invocation(context)
    with opened_store(running) as opened:
        port = opened.settings.naccs.terminal_port
        terminals = opened.store.read(lambda session: _terminals(session, office, port))
    if terminals is None:
        _no_office(running, str(office))
    if as_json:
        print_json(terminals)
        return
    for terminal in terminals:
        _show_terminal(terminal)


@address_app.command("list")
def list_addresses(context: typer.Context, office: OfOffice = None, as_json: AsJson = False) -> None:
    """List SMTP mail addresses with the terminal behind each, ended ones too."""
    running = invocation(context)
    with opened_store(running) as opened:
        terminals = opened.store.read(lambda session: _terminals(session, office, 0))
    if terminals is None:
        _no_office(running, str(office))
    addresses = [
        {**address, "terminal": terminal["name"], "office_code": terminal["office_code"]}
        for terminal in terminals
        for address in terminal["mail_addresses"]
    ]
    if as_json:
        print_json(addresses)
        return
    for address in addresses:
        typer.echo(f"{address['address']}  {address['terminal']}  {_span(address)}")


def _terminals(session: Session, office_code: str | None, port: int) -> list[dict[str, Any]] | None:
    from sqlalchemy import select
    from sqlalchemy.orm import joinedload, selectinload

    from storage.models import Line, LogicalTerminal, Office

    query = select(LogicalTerminal).join(Line, Line.id == LogicalTerminal.line_id)
    if office_code is not None:
        office = session.scalars(select(Office).where(Office.code == office_code)).first()
        if office is None:
            return None
        query = query.where(Line.office_id == office.id)
    rows = session.scalars(
        query.order_by(LogicalTerminal.name).options(
            joinedload(LogicalTerminal.line).joinedload(Line.office),
            selectinload(LogicalTerminal.mail_addresses),
        )
    )
    return [_terminal(row, port) for row in rows]


def _terminal(row: LogicalTerminal, port: int) -> dict[str, Any]:
    return {
        "name": row.name,
        "office_code": row.line.office.code,
        "router_number": row.line.router_number,
        "terminal_class": row.terminal_class,
        "equipment": row.equipment,
        "package": row.package,
        "ip_address": row.ip_address,
        "port": row.port or port,
        "codec": row.codec,
        "left_to_backend": row.left_to_backend.split(),
        **_dates(row),
        "mail_addresses": [
            {"address": address.address, **_dates(address)}
            for address in sorted(row.mail_addresses, key=lambda address: address.id)
        ],
    }


def _dates(row: LogicalTerminal | MailAddress) -> dict[str, str | None]:
    until = row.effective_until
    return {
        "effective_from": row.effective_from.isoformat(),
        "effective_until": None if until is None else until.isoformat(),
    }


def _span(dated: dict[str, Any]) -> str:
    return f"{dated['effective_from']} - {dated['effective_until'] or ''}".rstrip()


def _show_terminal(terminal: dict[str, Any], indent: str = "") -> None:
    place = f"{terminal['ip_address'] or '-'}:{terminal['port']}"
    typer.echo(
        f"{indent}{terminal['name']}  {terminal['equipment']:5} {place:21} "
        f"{terminal['office_code']} {terminal['router_number']}  {_span(terminal)}  {terminal['codec']}"
    )
    if terminal["left_to_backend"]:
        typer.echo(f"{indent}    left to the backend: {' '.join(terminal['left_to_backend'])}")
    for address in terminal["mail_addresses"]:
        typer.echo(f"{indent}    {address['address']}  {_span(address)}")
