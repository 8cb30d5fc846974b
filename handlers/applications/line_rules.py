"""Rules of 【回線・論理端末】 over several fields: counts against addresses, terminals, the date of work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from handlers.applications.block_check import BlockCheck
from handlers.applications.contents import ApplicationWarning, LineAction, LineChange, warning
from handlers.applications.field_rules import OfficeFacts
from handlers.applications.form import FormBlock
from handlers.applications.items import item_lines
from handlers.calendar import mail_date, parse_form_date

COUNTS = ("interactive_terminals", "gateway_servers", "smtp_servers", "mail_addresses")
NEW_TERMINALS = ("interactive_terminals", "gateway_servers", "smtp_servers")


def terminals_of(block: FormBlock, office: OfficeFacts | None) -> tuple[str, ...] | None:
    """The terminals of the line a block names; None when the line is not known and nothing is compared."""
    return office.router_numbers.get(block.value("router_number")) if office else None


def check_line(check: BlockCheck) -> None:
    """The rules of one block where terminals are to change. A line to be added has no number yet."""
    if check.block.value("action") != LineAction.ADD:
        check.require("router_number")
    if not any(check.is_given(key) for key in (*COUNTS, "terminals_to_delete")):
        check.fail("smtp_servers", "nothing_asked")
    servers = _number(check, "smtp_servers")
    addresses = _number(check, "mail_addresses")
    if servers and addresses and addresses < servers:
        each = check.context.limits.addresses_per_new_server
        check.fail("mail_addresses", "too_few_addresses", example=str(servers), servers=servers, each=each)
    if addresses and not check.is_given("smtp_servers") and not check.is_given("target_terminal"):
        check.fail("target_terminal", "target_needed")
    target = check.valid("target_terminal")
    if target and target in item_lines(check.valid("terminals_to_delete")):
        check.fail("target_terminal", "target_deleted", example=_another_terminal(check, target))


def check_lines_together(checks: Sequence[BlockCheck]) -> None:
    """One line is changed by one block only."""
    seen: set[str] = set()
    for check in checks:
        router_number = check.valid("router_number")
        if router_number in seen:
            check.fail("router_number", "router_repeated", example=_another_line(check, seen) or router_number)
        elif router_number:
            seen.add(router_number)


def needs_diagram(checks: Iterable[BlockCheck]) -> bool:
    """Whether the system configuration changes: in every case but more addresses for terminals that exist."""
    asked = [[key for key in (*COUNTS, "terminals_to_delete") if check.is_given(key)] for check in checks]
    return any(keys != ["mail_addresses"] for keys in asked) or not asked


def read_line(check: BlockCheck, start: date) -> LineChange:
    """The block as a value. Only terminals change here, so the date of work is the desired start date."""
    servers = _number(check, "smtp_servers")
    addresses = _number(check, "mail_addresses")
    return LineChange(
        router_number=check.valid("router_number"),
        action=LineAction(check.valid("action")),
        construction_date=start,
        construction_date_given=parse_form_date(check.valid("construction_date")) or start,
        interactive_terminals=_number(check, "interactive_terminals"),
        gateway_servers=_number(check, "gateway_servers"),
        smtp_servers=servers,
        mail_addresses=addresses,
        addresses_of_new_servers=_spread(servers, addresses, check.context.limits.addresses_per_new_server),
        target_terminal=check.optional("target_terminal"),
        terminals_to_delete=item_lines(check.valid("terminals_to_delete")),
    )


def line_warnings(line: LineChange) -> tuple[ApplicationWarning, ...]:
    """What to say of a date of work that was replaced, and of a terminal that nothing is asked for."""
    warnings: list[ApplicationWarning] = []
    if line.construction_date_given != line.construction_date:
        given = mail_date(line.construction_date_given)
        warnings.append(warning("construction_date_replaced", given=given, date=mail_date(line.construction_date)))
    if line.target_terminal and not line.addresses_for_target:
        warnings.append(warning("target_not_used", terminal=line.target_terminal))
    return tuple(warnings)


def _number(check: BlockCheck, key: str) -> int | None:
    value = check.valid(key)
    return int(value) if value else None


def _spread(servers: int | None, addresses: int | None, each: int) -> tuple[int, ...]:
    """Addresses of each new server: `each` when no number was given, else one and the extras to the first."""
    if not servers:
        return ()
    if addresses is None:
        return (each,) * servers
    return (addresses - servers + 1,) + (1,) * (servers - 1)


def _another_terminal(check: BlockCheck, target: str) -> str:
    return next((name for name in check.context.terminals or () if name != target), "")


def _another_line(check: BlockCheck, seen: set[str]) -> str:
    office = check.context.office
    return next((number for number in office.router_numbers if number not in seen), "") if office else ""
