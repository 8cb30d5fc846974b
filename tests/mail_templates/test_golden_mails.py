"""The mails as people read them, kept as files: each case, and each event of the workflow in every state."""

from __future__ import annotations

import pytest

from handlers import notice_templates, notices
from handlers.notice_templates import template_names
from handlers.text_columns import MAIL_COLUMNS, columns
from handlers.workflow import Event, State
from tests.mail_templates.case_stories import PATHS, desk_in
from tests.mail_templates.event_mails import read_bilingual_mails, read_mails, sending, sent_with
from tests.mail_templates.golden_mails import CASES, GOLDEN, english_event_file, event_file, made, readable
from tests.mail_templates.template_lint import STANDING, asked

FILES = sorted(GOLDEN.rglob("*.txt"))
# A store of either kind gives the same mails; the other tests of the handlers ask for both.
ONE_STORE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


@pytest.fixture
def told(monkeypatch):
    """The values each template was given by its sender."""
    seen = []
    render = notice_templates.render

    def listening(name, values, **options):
        seen.append((name, set(values) - STANDING))
        return render(name, values, **options)

    monkeypatch.setattr(notices, "render", listening)
    return seen


def kept(path):
    return path.read_text(encoding="utf-8")


@ONE_STORE
@pytest.mark.parametrize("name", sorted(CASES))
def test_a_mail_reads_as_reviewed(name, store, told):
    assert readable(made(name, store)) == kept(GOLDEN / f"{name}.txt")
    assert [(template, values ^ asked(template)) for template, values in told if values != asked(template)] == []


@ONE_STORE
@pytest.mark.parametrize(("state", "event"), list(sending()))
def test_a_mail_of_an_event_reads_as_reviewed_in_each_state(state, event, store, tmp_path, told):
    mails = read_mails(store, desk_in(tmp_path), state, event)
    assert mails.keys() == sent_with(state, event), "the table of effects names what is sent, and nothing else"
    for name, raw in mails.items():
        assert readable(raw) == kept(event_file(event, name, state))
    assert [(template, values ^ asked(template)) for template, values in told if values != asked(template)] == []


@ONE_STORE
@pytest.mark.parametrize(("event", "state"), list({event: state for state, event in sending()}.items()))
def test_a_mail_of_an_event_reads_as_reviewed_in_both_languages(event, state, store, tmp_path):
    for name, raw in read_bilingual_mails(store, desk_in(tmp_path), state, event).items():
        assert readable(raw) == kept(english_event_file(event, name))


def test_every_notice_has_a_golden_mail():
    of_events = {name for state, event in sending() for name in sent_with(state, event)}
    assert {template for _, template, _ in CASES.values()} | of_events == set(template_names())


def test_every_applicant_mail_is_kept_in_both_languages():
    in_both = {template for name, (_, template, _) in CASES.items() if " / " in kept(GOLDEN / f"{name}.txt")}
    in_both |= {name for state, event in sending() for name in sent_with(state, event)}
    assert {name for name in template_names() if name.startswith("applicant/")} - in_both == set()


def test_every_state_has_its_status_report():
    assert {f"status-report-{state}" for state in PATHS} <= CASES.keys()
    assert PATHS.keys() == set(State) - {State.COMPLETED}


def test_no_golden_mail_is_left_over():
    of_cases = {GOLDEN / f"{name}.txt" for name in CASES}
    of_events = {event_file(event, name, state) for state, event in sending() for name in sent_with(state, event)}
    english = {
        english_event_file(event, name)
        for state, event in sending()
        for name in sent_with(state, event)
        if name.startswith("applicant/")
    }
    assert set(FILES) == of_cases | of_events | english


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(GOLDEN)))
def test_a_golden_mail_keeps_to_76_columns(path):
    _, _, body = kept(path).partition("\n\n")
    text, _, _ = body.partition("\n--- application-errors.json ---")
    assert [line for line in text.splitlines() if columns(line) > MAIL_COLUMNS] == []


def test_events_are_of_the_workflow():
    assert {path.name for path in (GOLDEN / "events").iterdir()} <= {str(event) for event in Event}
