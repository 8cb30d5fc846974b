"""The checks of one form, section by section, and the application it makes when none of them fails.

Later sections ask earlier ones: the chosen items decide which sections are required and which are not wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from handlers.applications.assembly import CheckedForm, assemble
from handlers.applications.attachments import (
    DiagramChoice,
    choose_diagram,
    is_rich_text,
    is_signature,
    same_name,
)
from handlers.applications.block_check import BlockCheck
from handlers.applications.contents import ApplicationContents
from handlers.applications.field_rules import FieldError, RuleContext
from handlers.applications.form import FormBlock, ParsedForm
from handlers.applications.form_layout import form_layout
from handlers.applications.form_sources import is_form_file
from handlers.applications.form_values import SAME_AS_CONTACT
from handlers.applications.item_rules import (
    all_chosen,
    check_item_section,
    check_items,
    check_not_chosen,
    needed_parts,
)
from handlers.applications.items import item_lines
from handlers.applications.line_rules import ChosenParts, check_line, check_lines_together, needs_diagram, terminals_of
from handlers.mail import InboundMail, MailAttachment, parse_address

Differing = Mapping[tuple[str, int], Mapping[str, tuple[str, str]]]

_ATTENDANT_REQUIRED = ("family_name", "given_name", "family_kana", "given_kana", "phone")
_ATTENDANT_FIELDS = (*_ATTENDANT_REQUIRED, "department", "fax")
_FILES = "files"


class SectionChecks:
    """One form under its rules. `differing`: what application.json says otherwise; `base`: the application amended."""

    def __init__(
        self,
        mail: InboundMail,
        form: ParsedForm,
        context: RuleContext,
        *,
        differing: Differing,
        base: ApplicationContents | None = None,
    ) -> None:
        self._mail = mail
        self._form = form
        self._context = context
        self._differing = differing
        self._base = base

    def errors(self) -> tuple[FieldError, ...]:
        """Everything that is wrong, in the order of the form."""
        checks = (self.application, self.applicant, *self.lines, self.diagram, self.work, self.remarks)
        checks += (self.attachments, *self.item_sections)
        for check in checks:
            self._tell_differences(check)
        return tuple(error for check in checks for error in check.errors())

    def contents(self) -> ApplicationContents:
        """The application of a form without an error."""
        has_lines = self._is_needed("line")
        form = CheckedForm(
            application=self.application,
            applicant=self.applicant,
            lines=self.lines if has_lines else (),
            work=self.work if has_lines else None,
            remarks=self.remarks,
            files=self.attachments,
            items=self.item_sections,
            parsed=self._form,
        )
        return assemble(form, diagram=self.diagram_choice, files=self.other_files, base=self._base)

    @cached_property
    def application(self) -> BlockCheck:
        check = self._check("application")
        check_items(check)
        code = check.valid("office_code")
        if code and self._context.office is None:
            check.fail("office_code", "office_unknown", example="")
        if self._base and check.is_given("office_code") and code != self._base.office_code:
            check.replace_error("office_code", "amendment_office", example=self._base.office_code)
        return check

    @cached_property
    def applicant(self) -> BlockCheck:
        check = self._check("applicant")
        registered, confirmed = check.valid("email"), check.valid("email_confirmation")
        if registered and confirmed and parse_address(registered) != parse_address(confirmed):
            check.fail("email_confirmation", "email_differs", example=registered)
        return check

    @cached_property
    def lines(self) -> tuple[BlockCheck, ...]:
        most = self._context.limits.most_lines
        blocks = self._blocks("line")[: most + 1]
        checks = tuple(self._check_line(block, several=len(blocks) > 1) for block in blocks)
        if self._is_unwanted("line"):
            for check in checks:
                check_not_chosen(check)
            return checks
        if self._is_needed("line"):
            chosen = self._chosen_parts
            for check in checks:
                check_line(check, chosen)
            check_lines_together(checks, chosen)
        if len(checks) > most:
            checks[-1].replace_error("router_number", "too_many_lines")
        return checks

    @cached_property
    def diagram(self) -> BlockCheck:
        check = self._check("diagram")
        if self._is_unwanted("diagram"):
            check_not_chosen(check)
            return check
        broken = self.diagram_choice.broken_rule
        is_excused = self._is_kept(broken) or (broken == "diagram_missing" and not needs_diagram(self.lines))
        if broken and not is_excused:
            names = " / ".join(file.name for file in self._mail.attachments if file.name)
            check.fail("file_name", broken, given=self._diagram_name or names)
        return check

    @cached_property
    def work(self) -> BlockCheck:
        check = self._check("work")
        if self._is_unwanted("work"):
            check_not_chosen(check)
            return check
        attendant = check.valid("attendant")
        for name in _ATTENDANT_FIELDS:
            key = f"attendant_{name}"
            if attendant == SAME_AS_CONTACT and check.is_given(key):
                check.replace_error(key, "attendant_not_wanted", example="")
            elif attendant and attendant != SAME_AS_CONTACT and name in _ATTENDANT_REQUIRED:
                check.require(key)
        return check

    @cached_property
    def remarks(self) -> BlockCheck:
        return self._check("remarks")

    @cached_property
    def attachments(self) -> BlockCheck:
        check = self._check("attachments")
        carried = "file_names" in check.block.carried
        names = () if carried else item_lines(check.valid("file_names"))
        earlier = self._base.files if self._base else ()
        present = [*(file.name for file in self._mail.attachments), *(file.name for file in earlier)]
        absent = [name for name in names if not any(same_name(name, other) for other in present)]
        if absent:
            check.fail("file_names", "file_not_attached", given="\n".join(absent))
        if self._parts and _FILES in self._parts and not (self.other_files or earlier):
            check.fail("file_names", "attached_file_missing")
        return check

    @cached_property
    def item_sections(self) -> tuple[BlockCheck, ...]:
        """The sections of items without a screen: those of chosen items, and any other that is filled in."""
        chosen = all_chosen(self.application) if self._choice_is_clear else ()
        wanted = {f"item:{item.code}" for item in chosen if item.has_section}
        checks = []
        for section in form_layout().sections:
            if section.item and (section.key in wanted or self._form.of(section.key)):
                check = BlockCheck(self._blocks(section.key)[0], self._context, needed=section.key in wanted)
                if self._choice_is_clear:
                    check_item_section(check, chosen)
                checks.append(check)
        return tuple(checks)

    @cached_property
    def _choice_is_clear(self) -> bool:
        """Whether nothing is wrong with the items chosen; else nothing is said of their sections yet."""
        return not any(self.application.is_wrong(key) for key in ("items", "other_change", "other_items"))

    @cached_property
    def _parts(self) -> frozenset[str] | None:
        return needed_parts(self.application)

    @cached_property
    def _chosen_parts(self) -> ChosenParts:
        return ChosenParts.of(all_chosen(self.application))

    @cached_property
    def _diagram_name(self) -> str:
        block = next(iter(self._form.of("diagram")), None)
        return block.value("file_name") if block and "file_name" not in block.carried else ""

    @cached_property
    def diagram_choice(self) -> DiagramChoice:
        if not self._is_needed("diagram"):
            return DiagramChoice()
        return choose_diagram(
            self._mail.attachments, named=self._diagram_name, text=self._mail.text, limits=self._context.limits
        )

    @cached_property
    def other_files(self) -> tuple[MailAttachment, ...]:
        diagram = self.diagram_choice.file
        named = (file for file in self._mail.attachments if file.name and not file.inline)
        return tuple(
            file for file in named if file is not diagram and not is_form_file(file) and not is_signature(file)
        )

    def _is_kept(self, broken: str | None) -> bool:
        """Whether a diagram that is not there need not be: an amendment keeps the old one, winmail.dat hides it."""
        if broken not in ("diagram_missing", "file_not_attached"):
            return False
        kept = bool(self._base and self._base.diagram) and not self._diagram_name
        return kept or is_rich_text(self._mail.attachments)

    def _check(self, section: str) -> BlockCheck:
        block = self._blocks(section)[0]
        return BlockCheck(block, self._context, needed=self._is_needed(section))

    def _check_line(self, block: FormBlock, *, several: bool) -> BlockCheck:
        context = replace(self._context, terminals=terminals_of(block, self._context.office))
        title = f"{block.section.name}（{block.number}）" if several else None
        return BlockCheck(block, context, needed=self._is_needed("line"), title=title)

    def _tell_differences(self, check: BlockCheck) -> None:
        place = (check.block.section.key, check.block.number)
        for key, (written, attached) in self._differing.get(place, {}).items():
            check.replace_error(key, "json_differs", given=f"{written or '（空欄）'} / {attached or '（空欄）'}")

    def _blocks(self, section: str) -> tuple[FormBlock, ...]:
        """The blocks of a section; an empty one when it is missing, so that required fields are reported."""
        return self._form.of(section) or (FormBlock(section=form_layout().section(section)),)

    def _is_needed(self, section: str) -> bool:
        """Whether the chosen items need a section; when no item can be read, whether it is filled in."""
        part = form_layout().section(section).needed_for
        if part is None:
            return True
        if self._parts is not None:
            return part in self._parts
        return any(block.values for block in self._form.of(section))

    def _is_unwanted(self, section: str) -> bool:
        """Whether items were chosen and none of them needs the section."""
        return self._choice_is_clear and not self._is_needed(section)
