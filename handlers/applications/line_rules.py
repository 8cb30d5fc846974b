"""Rules of 【回線・論理端末】 over several fields: what each action takes, counts and addresses, the date of work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from handlers.applications.block_check import BlockCheck
from handlers.applications.contents import LINE_COLUMNS, ApplicationWarning, LineAction, LineChange, warning
from handlers.applications.field_rules import OfficeFacts
from handlers.applications.form import FormBlock
from handlers.applications.items import Item, item_lines
from handlers.calendar import mail_date, parse_form_date

COUNTS = ("interactive_terminals", "gateway_servers", "smtp_servers", "mail_addresses")

_ASKED = (*COUNTS, "terminals_to_delete")
_LINE_ITEM = "naccs_lines"
_TERMINAL_ITEM = "naccs_terminals"
_OPTIONAL_COLUMN = "site_option"
_NOT_IN_THE_DIAGRAM = "maintenance_hours"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenParts:
    """Which of 一般NACCS回線 and 一般NACCS端末 were chosen."""

    lines: bool
    terminals: bool

    @classmethod
    def of(cls, items: Iterable[Item]) -> ChosenParts:
        codes = {item.code for item in items}
        return cls(lines=_LINE_ITEM in codes, terminals=_TERMINAL_ITEM in codes)


def terminals_of(block: FormBlock, office: OfficeFacts | None) -> tuple[str, ...] | None:
    """The terminals of the line a block names: none of a new line; None when the line is not known."""
    if block.value("action") == LineAction.ADD:
        return ()
    return office.router_numbers.get(block.value("router_number")) if office else None


def check_line(check: BlockCheck, chosen: ChosenParts) -> None:
    """The rules of one block, by what is to be done with the line."""
    action = check.valid("action")
    if action in (LineAction.ADD, LineAction.CANCEL) and not chosen.lines:
        check.fail("action", "line_item_needed", example=LineAction.CHANGE)
    if action == LineAction.ADD:
        _check_new_line(check)
    elif action == LineAction.CANCEL:
        _check_cancelled_line(check)
    else:
        _check_changed_line(check, chosen)
    _check_numbers(check)


def _check_new_line(check: BlockCheck) -> None:
    if check.is_given("router_number"):
        check.replace_error("router_number", "router_not_wanted", example="")
    for key in LINE_COLUMNS:
        if key != _OPTIONAL_COLUMN:
            check.require(key)
    if check.is_given("mail_addresses") and not check.is_given("smtp_servers"):
        check.fail("smtp_servers", "servers_needed")


def _check_cancelled_line(check: BlockCheck) -> None:
    check.require("router_number")
    _refuse_columns(check)
    for key in (*COUNTS, "target_terminal"):
        if check.is_given(key):
            check.replace_error(key, "not_for_cancelled_line", example="")


def _check_changed_line(check: BlockCheck, chosen: ChosenParts) -> None:
    check.require("router_number")
    asked = any(check.is_given(key) for key in _ASKED)
    if not chosen.lines:
        _refuse_columns(check)
        if not asked:
            check.fail("smtp_servers", "nothing_asked")
    elif asked and not chosen.terminals:
        check.fail("action", "terminal_item_needed")
    elif not asked and not any(check.is_given(key) for key in LINE_COLUMNS):
        check.fail("action", "line_unchanged")
    if check.valid("mail_addresses") and not check.is_given("smtp_servers") and not check.is_given("target_terminal"):
        check.fail("target_terminal", "target_needed")


def _refuse_columns(check: BlockCheck) -> None:
    for key in LINE_COLUMNS:
        if check.is_given(key):
            check.replace_error(key, "line_column", example="")


def _check_numbers(check: BlockCheck) -> None:
    servers = _number(check, "smtp_servers")
    addresses = _number(check, "mail_addresses")
    if servers and addresses and addresses < servers:
        each = check.context.limits.addresses_per_new_server
        check.fail("mail_addresses", "too_few_addresses", example=str(servers), servers=servers, each=each)
    target = check.valid("target_terminal")
    if target and target in item_lines(check.valid("terminals_to_delete")):
        check.fail("target_terminal", "target_deleted", example=_another_terminal(check, target))


def check_lines_together(checks: Sequence[BlockCheck], chosen: ChosenParts) -> None:
    """One line is changed by one block only; where terminals are to change, some block says which."""
    seen: set[str] = set()
    for check in checks:
        router_number = check.valid("router_number")
        if router_number in seen:
            check.fail("router_number", "router_repeated", example=_another_line(check, seen) or router_number)
        elif router_number:
            seen.add(router_number)
    if chosen.lines and chosen.terminals and not any(check.is_given(key) for check in checks for key in _ASKED):
        first = next((check for check in checks if check.valid("action") != LineAction.CANCEL), checks[0])
        first.fail("smtp_servers", "nothing_asked")


def needs_diagram(checks: Iterable[BlockCheck]) -> bool:
    """Whether the system configuration changes: always but for more addresses of terminals, or other maintenance."""
    return any(_changes_configuration(check) for check in checks)


def _changes_configuration(check: BlockCheck) -> bool:
    if check.valid("action") in (LineAction.ADD, LineAction.CANCEL):
        return True
    given = [key for key in (*LINE_COLUMNS, *_ASKED) if check.is_given(key)]
    return not given or any(key not in ("mail_addresses", _NOT_IN_THE_DIAGRAM) for key in given)


def read_line(check: BlockCheck, start: date) -> LineChange:
    """The block as a value. Where only terminals change, the date of work is the desired start date."""
    servers = _number(check, "smtp_servers")
    addresses = _number(check, "mail_addresses")
    wish = parse_form_date(check.valid("construction_date")) or start
    line = LineChange(
        router_number=check.valid("router_number"),
        action=LineAction(check.valid("action")),
        construction_date=wish,
        construction_date_given=wish,
        interactive_terminals=_number(check, "interactive_terminals"),
        gateway_servers=_number(check, "gateway_servers"),
        smtp_servers=servers,
        mail_addresses=addresses,
        addresses_of_new_servers=_spread(servers, addresses, check.context.limits.addresses_per_new_server),
        target_terminal=check.optional("target_terminal"),
        terminals_to_delete=item_lines(check.valid("terminals_to_delete")),
    ).model_copy(update={key: check.optional(key) for key in LINE_COLUMNS})
    if line.action is LineAction.CANCEL:  # every terminal of it ends, named or not
        return line.model_copy(update={"terminals_to_delete": ()})
    return line if line.has_line_work else line.model_copy(update={"construction_date": start})


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
