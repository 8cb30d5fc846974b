"""An application as the form would have it: its values under their labels, for copies and for amendments.

What these functions write is read back by the form's own grammar and rules to the same application.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from handlers.applications.contents import LINE_COLUMNS, ApplicationContents, ApplicationFile, LineChange, Person
from handlers.applications.form import FormBlock
from handlers.applications.form_layout import form_layout
from handlers.applications.items import all_items
from handlers.calendar import form_date

SAME_AS_CONTACT = "工事事務担当者に同じ"
ANOTHER_PERSON = "その他"

_CONFIRMATION = "email_confirmation"
_COUNTS = ("interactive_terminals", "gateway_servers", "smtp_servers", "mail_addresses")


def filled(contents: ApplicationContents) -> dict[tuple[str, int], dict[str, str]]:
    """Section and its number -> label -> value, in the order of the form; only what is given."""
    return {
        (block.section.name, block.number): {
            spec.label: block.values[spec.key]
            for spec in block.section.fields
            if spec.key in block.values and spec.key != _CONFIRMATION
        }
        for block in form_blocks(contents)
    }


def form_blocks(contents: ApplicationContents) -> tuple[FormBlock, ...]:
    """The sections that have a value, filled in as the applicant would."""
    layout = form_layout()
    return tuple(
        FormBlock(section=layout.section(key), number=number, values=values)
        for key, number, values in _sections(contents)
        if values
    )


def _sections(contents: ApplicationContents) -> Iterator[tuple[str, int, Mapping[str, str]]]:
    yield "application", 1, _application(contents)
    yield "applicant", 1, _given(_applicant(contents))
    for number, line in enumerate(contents.lines, start=1):
        yield "line", number, _given(_line(line))
    yield "diagram", 1, _given({"file_name": contents.diagram.name if contents.diagram else None})
    yield "work", 1, _given(_work(contents))
    yield "remarks", 1, _given({"remarks": contents.remarks})
    yield "attachments", 1, _given({"file_names": _names(contents.files)})
    for change in contents.item_changes:
        yield f"item:{change.code}", 1, {"before": change.before, "after": change.after}


def _given(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _application(contents: ApplicationContents) -> dict[str, str]:
    return _given(
        {
            "application_class": contents.application_class.value,
            "office_code": contents.office_code,
            "items": _item_names(contents.items),
            "other_change": "あり" if contents.other_items else "なし",
            "other_items": _item_names(contents.other_items),
            "desired_start_date": form_date(contents.desired_start_date),
            "reason": contents.reason,
        }
    )


def _item_names(codes: tuple[str, ...]) -> str:
    return "\n".join(all_items()[code].name for code in codes)


def _names(files: tuple[ApplicationFile, ...]) -> str:
    return "\n".join(file.name for file in files)


def _person(person: Person, prefix: str = "") -> dict[str, str | None]:
    return {
        f"{prefix}family_name": person.family_name,
        f"{prefix}given_name": person.given_name,
        f"{prefix}family_kana": person.family_kana,
        f"{prefix}given_kana": person.given_kana,
        f"{prefix}department": person.department,
        f"{prefix}phone": person.phone,
        f"{prefix}fax": person.fax,
    }


def _applicant(contents: ApplicationContents) -> dict[str, str | None]:
    applicant = contents.applicant
    return {
        **_person(applicant),
        "title": applicant.title,
        "email": applicant.email,
        _CONFIRMATION: applicant.email,
    }


def _line(line: LineChange) -> dict[str, str | None]:
    counts = {key: getattr(line, key) for key in _COUNTS}
    return {
        "router_number": line.router_number,
        "action": line.action.value,
        **{key: getattr(line, key) for key in LINE_COLUMNS},
        "construction_date": form_date(line.construction_date),
        **{key: None if count is None else str(count) for key, count in counts.items()},
        "target_terminal": line.target_terminal,
        "terminals_to_delete": "\n".join(line.terminals_to_delete),
    }


def _work(contents: ApplicationContents) -> dict[str, str | None]:
    if contents.work_contact is None or contents.attendant is None:
        return {}
    attendant = contents.attendant.person
    return {
        **_person(contents.work_contact, "contact_"),
        "attendant": ANOTHER_PERSON if attendant else SAME_AS_CONTACT,
        **(_person(attendant, "attendant_") if attendant else {}),
        "remarks": contents.work_remarks,
    }
