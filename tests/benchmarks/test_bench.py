from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from benchmarks import postfix_instance
from benchmarks.bench import ALL_CASES, main
from benchmarks.comparison import POSTFIX
from benchmarks.fleet import fleet, this_host
from benchmarks.gateway_instance import GatewayInstance
from benchmarks.load_client import LoadClient, Target
from benchmarks.postfix_instance import PostfixInstance
from benchmarks.processes import InstanceFailed, OtherWork, cpu_seconds, free_port, process_tree
from benchmarks.sides import SmtpSourceSide
from benchmarks.sink import Sink

no_postfix = postfix_instance.why_not()
needs_postfix = pytest.mark.skipif(no_postfix is not None, reason=str(no_postfix))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    # pytest's own folders are closed to the account that Postfix's daemons run under.
    with TemporaryDirectory(prefix="naccs-bench-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@needs_postfix
async def test_postfix_holds_relays_and_leaves_nothing_running(open_folder: Path) -> None:
    sink, port = Sink(), free_port()
    postfix = PostfixInstance(open_folder / "postfix", sink_port=port)
    postfix.start()
    try:
        await sink.listen(["127.0.0.1"], port)
        await _hold(postfix, open_folder)
        await _relay(postfix, sink)
        pids = postfix.pids
        assert cpu_seconds(postfix.pid) > 0
    finally:
        postfix.stop()
        sink.close()
        await asyncio.sleep(0.05)
    assert not [pid for pid in pids if _runs(pid)]


async def _hold(postfix: PostfixInstance, folder: Path) -> None:
    program = postfix_instance.smtp_source()
    assert program is not None
    side = SmtpSourceSide(
        name=POSTFIX,
        pid=postfix.pid,
        port=postfix.accept_port,
        program=program,
        sender=this_host(),
        connections=5,
        keeps_connections=False,
    )
    assert (await side.run(20)).messages == 20
    assert len(list((folder / "postfix" / "queue" / "hold").iterdir())) == 20


async def _relay(postfix: PostfixInstance, sink: Sink) -> None:
    target = Target(
        host="127.0.0.1",
        port=postfix.relay_port,
        keeps_connections=False,
        is_expected=postfix.is_expected,
    )
    result = await LoadClient(sink, fleet(5), target, run_name="TEST").phase(15)
    assert (result.delivered, sink.unexpected) == (15, 0)


async def test_the_gateway_answers_every_request_of_the_load_and_ends(tmp_path: Path) -> None:
    stations = fleet(20)
    hosts = [station.ip for station in stations]
    sink, port = Sink(), free_port(*hosts)
    gateway = GatewayInstance(tmp_path / "gateway", stations=stations, terminal_port=port)
    gateway.start()
    try:
        await sink.listen(hosts, port)
        target = Target(
            host="127.0.0.1", port=gateway.relay_port, keeps_connections=True, is_expected=gateway.is_expected
        )
        client = LoadClient(sink, stations, target, run_name="TEST")
        assert (await client.phase(60)).delivered == 60
        client.close()
        pids = gateway.pids
    finally:
        await asyncio.to_thread(gateway.stop)
        sink.close()
        await asyncio.sleep(0.05)
    assert sink.unexpected == 0
    assert not [pid for pid in pids if _runs(pid)]


async def test_a_gateway_that_refuses_its_contracts_says_why(tmp_path: Path) -> None:
    twice = [*fleet(1), *fleet(1)]
    gateway = GatewayInstance(tmp_path / "gateway", stations=twice, terminal_port=25)
    with pytest.raises(InstanceFailed, match="naccs-gateway office import"):
        gateway.start()


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_absent_postfix_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postfix_instance, "_program", lambda name: None)
    assert postfix_instance.why_not() == "Postfix is not installed (Debian package `postfix`)"


def test_a_process_tree_holds_the_children() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert {os.getpid(), child.pid} <= set(process_tree(os.getpid()))
        child.kill()


def test_the_work_of_an_ended_child_counts_as_ours() -> None:
    others, before = OtherWork(), cpu_seconds(os.getpid())
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert cpu_seconds(os.getpid()) - before >= 0.25
    assert 0 <= others.share() < 1


def test_an_unknown_case_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SystemExit, match="no such case: tuba; there are accept-10-one"):
        main(["--cases", "tuba"])


def test_every_case_has_a_name_of_its_own() -> None:
    assert len(set(ALL_CASES)) == len(ALL_CASES) == 7
