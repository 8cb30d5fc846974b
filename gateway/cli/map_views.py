"""Lines, terminals and mail addresses as commands show them: what scripts rely on, and one line each for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from storage.models import Line, LogicalTerminal, MailAddress


def lines(session: Session, office_code: str | None, port: int) -> list[dict[str, Any]] | None:
    """The lines of an office or of all, ended ones too, each with its terminals; None where there is no such office."""
    from sqlalchemy import select
    from sqlalchemy.orm import joinedload, selectinload

    from storage.models import Line, LogicalTerminal, Office

    query = select(Line).order_by(Line.router_number)
    if office_code is not None:
        office = session.scalars(select(Office).where(Office.code == office_code)).first()
        if office is None:
            return None
        query = query.where(Line.office_id == office.id)
    rows = session.scalars(
        query.options(
            joinedload(Line.office), selectinload(Line.terminals).selectinload(LogicalTerminal.mail_addresses)
        )
    )
    return [line(row, port) for row in rows]


def line(row: Line, port: int) -> dict[str, Any]:
    """A line with its terminals."""
    return {
        "router_number": row.router_number,
        "office_code": row.office.code,
        "line_class": row.line_class,
        "connection": row.connection,
        "edifact": row.edifact,
        "line_type": row.line_type,
        "access_speed": row.access_speed,
        "wiring": row.wiring,
        "maintenance_hours": row.maintenance_hours,
        "site_option": row.site_option,
        "shared_with_other_offices": row.shared_with_other_offices,
        "shared_with": row.shared_with.split(),
        "lan_subnet": row.lan_subnet,
        "spare_router": row.spare_router,
        **dates(row),
        "terminals": [terminal(one, port) for one in sorted(row.terminals, key=lambda one: one.name)],
    }


def terminals(session: Session, office_code: str | None, port: int) -> list[dict[str, Any]] | None:
    """The terminals of an office or of all, ended ones too; None where there is no such office."""
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
    return [terminal(row, port) for row in rows]


def terminal(row: LogicalTerminal, port: int) -> dict[str, Any]:
    """A terminal with its mail addresses; `port` is where terminals without one of their own are reached."""
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
        **dates(row),
        "mail_addresses": [
            {"address": address.address, **dates(address)}
            for address in sorted(row.mail_addresses, key=lambda address: address.id)
        ],
    }


def dates(row: Line | LogicalTerminal | MailAddress) -> dict[str, str | None]:
    """From which JST day until which a row applies; null: since ever, without end."""
    return {
        "effective_from": None if row.effective_from is None else row.effective_from.isoformat(),
        "effective_until": None if row.effective_until is None else row.effective_until.isoformat(),
    }


def span(dated: dict[str, Any]) -> str:
    """The dates of a row in one word."""
    return f"{dated['effective_from'] or ''} - {dated['effective_until'] or ''}".strip()


def show_line(shown: dict[str, Any]) -> None:
    """One line about a line."""
    count = len(shown["terminals"])
    typer.echo(
        f"{shown['router_number']:10}  {shown['office_code']:8}  {shown['lan_subnet']:18}  {count}  {span(shown)}"
    )


def show_terminal(shown: dict[str, Any], indent: str = "") -> None:
    """A line about a terminal, and one about each of its addresses."""
    place = f"{shown['ip_address'] or '-'}:{shown['port']}"
    typer.echo(
        f"{indent}{shown['name']}  {shown['equipment']:5} {place:21} "
        f"{shown['office_code']} {shown['router_number']}  {span(shown)}  {shown['codec']}"
    )
    if shown["left_to_backend"]:
        typer.echo(f"{indent}    left to the backend: {' '.join(shown['left_to_backend'])}")
    for address in shown["mail_addresses"]:
        typer.echo(f"{indent}    {address['address']}  {span(address)}")
