"""`office import|export|list|show`: contracts as files and as the register has them; and the groups of the map."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import Invocation, addresses, invocation, lines, print_json, terminal_contracts
from gateway.cli.contract_apps import no_office, office_app
from gateway.cli.faults import show_faults
from gateway.cli.import_reports import report_json, show_report
from gateway.cli.map_views import line, show_terminal
from gateway.cli.opening import SudoUid, actor, opened_store
from gateway.cli.options import AsJson, DryRun
from gateway.cli.rehearsing import rehearse
from gateway.cli.showing import day

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from handlers.contracts import Contracts, ImportReport
    from storage.models import Office


class Format(StrEnum):
    """How the register is written."""

    TOML = "toml"
    CSV = "csv"


def register(root: typer.Typer) -> None:
    """Add the commands of this module, and of the others that read and change the map."""
    root.add_typer(office_app, name="office")
    for module in (lines, terminal_contracts, addresses):
        module.register(root)


@office_app.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(exists=True, readable=True, help="The office file, or a directory of CSV tables.")
    ],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    sudo_uid: SudoUid = None,
) -> None:
    """Bring offices, lines, terminals, users and contacts to what a file says, all of it or nothing.

    A TOML file, or a directory with offices.csv and as many of contacts.csv, lines.csv, terminals.csv and users.csv.
    Importing a file again changes nothing. What the file no longer names stays, as do passwords it does not give.
    A new terminal takes effect today.
    """
    from handlers.contracts import ContractsRefused

    running = invocation(context)
    try:
        contracts = _read(file)
        report = _import(running, contracts, actor(sudo_uid), dry_run=dry_run)
    except ContractsRefused as refused:
        show_faults(running, refused.faults, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        print_json({"dry_run": dry_run, **report_json(report)})
        return
    if dry_run:
        typer.echo(running.text(ja="予行（何も変えていません）:", en="rehearsed, nothing was changed:"))
    show_report(running, report, each=dry_run)


def _read(file: Path) -> Contracts:
    from handlers.contract_tables import TABLE_NAMES, read_tables
    from handlers.contracts import ContractsRefused, Fault, read_contracts

    if not file.is_dir():
        return read_contracts(_text(file, "toml"))
    tables = {table.stem: table for table in sorted(file.glob("*.csv"))}
    unknown = [tables[name].name for name in tables if name not in TABLE_NAMES]
    if unknown or "offices" not in tables:
        names = ", ".join(f"{name}.csv" for name in TABLE_NAMES)
        faults = [Fault(place=name, rule="unknown_table", value=names) for name in unknown]
        raise ContractsRefused(tuple(faults) or (Fault(place="offices.csv", rule="missing"),))
    return read_tables({name: _text(table, "csv") for name, table in tables.items()})


def _text(file: Path, rule: str) -> str:
    from handlers.contracts import ContractsRefused, Fault

    try:
        # Line ends inside a cell are the table's own; utf-8-sig is how spreadsheets mark UTF-8.
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractsRefused((Fault(place=str(file), rule=rule, value=str(error)),)) from None


def _import(running: Invocation, contracts: Contracts, by: str, *, dry_run: bool) -> ImportReport:
    from handlers.contracts import hash_contract_passwords, import_contracts, known_password_hashes

    with opened_store(running) as opened:
        desk, now = opened.desk(), opened.now()
        known = opened.store.read(lambda session: known_password_hashes(session, contracts))
        # Slow on purpose, so done before anybody has to wait for the store.
        hashes = hash_contract_passwords(contracts, known)

        def bring(session: Session) -> ImportReport:
            return import_contracts(session, contracts, desk, now, actor=by, password_hashes=hashes)

        return rehearse(opened.store, bring) if dry_run else opened.store.run(bring)


@office_app.command("export")
def export_offices(
    context: typer.Context,
    file_format: Annotated[Format, typer.Option("--format", help="One TOML file, or a directory of CSV tables.")] = (
        Format.TOML
    ),
    output: Annotated[
        Path | None,
        typer.Option(help="The file or, for CSV, the directory to write; TOML else goes to standard output."),
    ] = None,
    office: Annotated[str | None, typer.Option("--office", help="Only the office with this code.")] = None,
    on: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="What is in force on this day (JST); else today.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the register as `office import` takes it back unchanged. Passwords are never written.

    What ended before the day or begins after it is left out.
    """
    from handlers.calendar import jst_date
    from handlers.contract_export import exported, to_toml
    from handlers.contract_tables import to_tables

    if file_format is Format.CSV and output is None and not as_json:
        raise typer.BadParameter("CSV is written to a directory", param_hint="--output")
    running = invocation(context)
    with opened_store(running) as opened:
        on_day = day(on, "--on") or jst_date(opened.now())
        found = opened.store.read(lambda session: exported(session, on_day, office))
    if office is not None and not found["office"]:
        no_office(running, office)
    if as_json:
        print_json(found)
    elif file_format is Format.CSV and output is not None:
        output.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in to_tables(found).items():
            _write(output / f"{name}.csv", text.encode("utf-8-sig"))
    elif output is None:
        typer.echo(to_toml(found, on_day), nl=False)
    else:
        _write(output, to_toml(found, on_day).encode("utf-8"))


def _write(path: Path, content: bytes) -> None:
    """Write a file that names people, for the owner alone where it is new."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


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
        "bilingual": row.bilingual,
        "administrator_name": row.administrator_name,
        "administrator_email": row.administrator_email,
    }


@office_app.command("show")
def show_office(
    context: typer.Context,
    code: Annotated[str, typer.Argument(help="The code of the office (事業所コード).")],
    as_json: AsJson = False,
) -> None:
    """Show one office with its contacts, lines, terminals and users; passwords never."""
    running = invocation(context)
    with opened_store(running) as opened:
        port = opened.settings.naccs.terminal_port
        office = opened.store.read(lambda session: _whole_office(session, code, port))
    if office is None:
        no_office(running, code)
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
    for shown in office["lines"]:
        label = running.text(ja="回線 ルータ番号", en="line, router number")
        typer.echo(f"{label}: {shown['router_number']} {shown['lan_subnet']}")
        for terminal in shown["terminals"]:
            show_terminal(terminal, indent="  ")
    for user in office["users"]:
        label = running.text(ja="利用者コード・識別番号", en="user code and identification number")
        barred = running.text(ja="利用停止", en="barred") if user["barred"] else ""
        words = (user["code"], user["identification_number"], *user["procedures"], user["service_hours"], barred)
        typer.echo(f"{label}: {' '.join(filter(None, words))}")


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
        "lines": [line(one, port) for one in sorted(row.lines, key=lambda one: one.router_number)],
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
