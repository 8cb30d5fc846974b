"""One section of a form under its field rules: what is valid, and one error a field for what is not.

Rules that look at several fields (line_rules.py, checks.py) ask for valid values and add their errors here,
so that a field never gets two and errors come out in the order of the form.
"""

from __future__ import annotations

from handlers.applications.field_rules import (
    FieldError,
    RuleContext,
    broken_rule,
    example_for,
    field_error,
    field_rule,
    split_joined_name,
)
from handlers.applications.form import FormBlock
from handlers.applications.form_layout import FieldSpec


class BlockCheck:
    """The values of one block and what is wrong with them; `needed`: its required fields must be given."""

    def __init__(self, block: FormBlock, context: RuleContext, *, needed: bool, title: str | None = None) -> None:
        self.block = block
        self.context = context
        self._title = title or block.section.name
        self._values = dict(block.values)
        self._excused: set[str] = set()
        self._errors: dict[str, FieldError] = {}
        self._report_repeated()
        self._split_joined()
        for spec in block.section.fields:
            self._check_field(spec, needed=needed)

    def valid(self, key: str) -> str:
        """The value of a field that is given and breaks no rule, else an empty text."""
        return "" if key in self._errors else self._values.get(key, "")

    def optional(self, key: str) -> str | None:
        """The valid value, or None when the field is not given."""
        return self.valid(key) or None

    def is_given(self, key: str) -> bool:
        """Whether anything stands under the label, right or wrong."""
        return key in self._values or key in self._errors

    def is_wrong(self, key: str) -> bool:
        return key in self._errors

    def fail(
        self, key: str, code: str, *, example: str | None = None, given: str | None = None, **names: object
    ) -> None:
        """Report that a field breaks the rule `code`, unless it is already known to be wrong."""
        spec = self.block.section.field(key)
        self._errors.setdefault(
            key,
            field_error(
                code,
                section=self._title,
                label=spec.label,
                given=self._values.get(key, "") if given is None else given,
                example=example_for(spec, self.context) if example is None else example,
                context=self.context,
                **{"choices": "、".join(spec.choices), **names},
            ),
        )

    def replace_error(self, key: str, code: str, *, example: str | None = None, given: str | None = None) -> None:
        """Report a broken rule that says more than whatever was reported of the field before."""
        self._errors.pop(key, None)
        self.fail(key, code, example=example, given=given)

    def fail_alone(self, key: str, code: str, *, example: str) -> None:
        """Report one broken rule and nothing else of this block."""
        self._errors.clear()
        self.fail(key, code, example=example)

    def require(self, key: str) -> None:
        """Report a field that is needed here and not given."""
        if not self.is_given(key) and key not in self._excused:
            rule_ja, rule_en = field_rule(self.block.section.field(key), self.context)
            self.fail(key, "required", field_rule_ja=rule_ja, field_rule_en=rule_en)

    def errors(self) -> tuple[FieldError, ...]:
        """What is wrong, in the order of the form."""
        keys = (spec.key for spec in self.block.section.fields)
        return tuple(self._errors[key] for key in keys if key in self._errors)

    def _report_repeated(self) -> None:
        for key, found in self.block.repeated.items():
            self.fail(key, "repeated", given=" / ".join(found))

    def _split_joined(self) -> None:
        """A name written in one piece fills the two fields it joins; a part given beside it is repeated."""
        for spec in self.block.section.fields:
            written = self._values.get(spec.key)
            if not spec.joins or not (written or self.is_wrong(spec.key)):
                continue
            halves = split_joined_name(written) if written else None
            if halves is None:
                self._excused.update(spec.joins)
                self._fail_joined(spec)
                continue
            for key, half in zip(spec.joins, halves, strict=True):
                if self.is_given(key):
                    self.fail(key, "repeated", given=f"{self._values.get(key, '')} / {half}")
                self._values[key] = half
            del self._values[spec.key]

    def _fail_joined(self, spec: FieldSpec) -> None:
        parts = "」「".join(self.block.section.field(key).label for key in spec.joins)
        self.fail(spec.key, "joined_name", parts=parts)

    def _check_field(self, spec: FieldSpec, *, needed: bool) -> None:
        if spec.key in self._errors or spec.key in self.block.carried:
            return
        value = self._values.get(spec.key)
        if value:
            code = broken_rule(spec, value, self.context)
            if code:
                self.fail(spec.key, code)
        elif needed and spec.required:
            self.require(spec.key)
