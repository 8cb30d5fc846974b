"""`demo` plays the whole story on this machine, and says so when a step does not hold."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import build
from gateway.demo import demo_settings, play
from gateway.demo_timeline import Timeline
from gateway.sandbox import peers
from storage.engines import database_file, parse_url


@pytest.fixture(autouse=True)
def _root_logger_as_it_was():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_every_step_of_the_story_holds():
    result = CliRunner().invoke(build(), ["demo", "--pause", "0"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "FAILS" not in result.stdout
    assert "steps hold (" in result.stdout.splitlines()[-1]
    chapters = [line for line in result.stdout.splitlines() if line.startswith("== ")]
    assert len(chapters) == 7
    for said in (
        "利用申込受付完了のお知らせ",
        "ID通知のお知らせ",
        "【テスト】",
        "[550 5.7.1 Not permitted]",
        "queued as",
    ):
        assert said in result.stdout
    assert "PASSWD01" not in result.output


async def test_a_story_that_goes_wrong_is_told_step_by_step(monkeypatch):
    # A terminal's address is believed from no peer, so nothing the in-house system sends is taken.
    monkeypatch.setattr(peers.Recorder.mail, "__defaults__", (1.0,))
    said: list[str] = []
    timeline = Timeline(said.append)
    with demo_settings() as settings:
        strict = settings.naccs.model_copy(update={"peer_check": "networks", "peer_networks": ()})
        await play(settings.model_copy(update={"naccs": strict}), timeline, pause=0)
    assert not timeline.end()
    assert "the request is taken" in timeline.failures
    assert "         FAILS a result comes" in said
    assert said[-1].startswith(f"\n{len(timeline.failures)} of {timeline.steps} steps do not hold: ")


def test_its_store_and_keys_are_temporary_and_its_ports_free():
    with demo_settings() as settings:
        directory = database_file(parse_url(settings.store.url)).parent
        assert settings.secrets.key_file.parent == directory
        assert directory.is_dir()
        assert directory != Path.cwd()
        assert (settings.public.port, settings.naccs.port) == (0, 0)
        assert settings.naccs.terminal_port != settings.smarthost.port
        assert settings.sandbox.movable_clock
        assert {settings.public.host, settings.naccs.host, settings.smarthost.host} == {"127.0.0.1"}
    assert not directory.exists()


def test_the_timeline_says_what_holds_and_what_does_not():
    said: list[str] = []
    timeline = Timeline(said.append)
    timeline.chapter("One")
    timeline.event("a", "b", "hello", "250 ok")
    timeline.event("a", "b", "silence")
    timeline.check("it holds", holds=[1])
    timeline.quote("a mail", "first\nsecond")
    assert timeline.end()
    assert said[0] == "\n== One"
    assert said[1].endswith("s  a -> b: hello  [250 ok]")
    assert said[2].endswith("s  a -> b: silence")
    assert said[3:7] == ["         ok    it holds", "\n--- a mail", "    first", "    second"]
    assert said[7].startswith("\nAll 1 steps hold (")
    del said[:]
    timeline.check("it does not", holds="", otherwise=0)
    timeline.check("nor this", holds=False)
    assert not timeline.end()
    assert said == [
        "         FAILS it does not: 0",
        "         FAILS nor this",
        "\n2 of 3 steps do not hold: it does not; nor this",
    ]
