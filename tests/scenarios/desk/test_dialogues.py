"""The dialogues of an application with its applicant, its reviewers and the clock, on both stores."""

from __future__ import annotations

import pytest

from tests.scenarios.desk.dialogue import Stage, dialogues

ALL = dialogues()
WANTED = {
    "accept and complete", "inquiry, answer, complete", "amendment", "withdrawal", "rejection", "void by deadline",
    "reschedule", "several lines", "deletion", "on-site work", "unverified sender held, then released",
    "second open case on the line", "two-person completion", "reissue of passwords", "tcc reminder",
}  # fmt: skip


@pytest.mark.parametrize("dialogue", ALL, ids=lambda each: each.name)
def test_a_dialogue_brings_the_mails_and_states_its_file_says(store, tmp_path, dialogue):
    Stage(store, tmp_path, dialogue).play(dialogue)


def test_every_dialogue_that_is_asked_for_is_there():
    assert {each.covers for each in ALL} >= WANTED
