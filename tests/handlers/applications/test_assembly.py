from __future__ import annotations

import pytest

from handlers.applications.assembly import CheckedForm, assemble
from handlers.applications.attachments import DiagramChoice
from handlers.applications.block_check import BlockCheck
from handlers.applications.field_rules import ApplicationLimits, RuleContext
from handlers.applications.form import FormBlock, ParsedForm
from handlers.applications.form_layout import form_layout
from tests.handlers.applications.application_mails import TODAY


def test_a_form_that_was_not_checked_is_not_made_an_application():
    context = RuleContext(today=TODAY, limits=ApplicationLimits())
    empty = {
        section.key: BlockCheck(FormBlock(section=section), context, needed=True) for section in form_layout().sections
    }
    form = CheckedForm(
        application=empty["application"],
        applicant=empty["applicant"],
        lines=(),
        work=empty["work"],
        remarks=empty["remarks"],
        files=empty["attachments"],
        items=(),
        parsed=ParsedForm(blocks=()),
    )
    with pytest.raises(ValueError, match="not checked"):
        assemble(form, diagram=DiagramChoice(), files=())
