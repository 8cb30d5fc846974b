"""The two stages of the comparison: accepting, then the whole way. Each starts both sides anew and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks import postfix_instance
from benchmarks.comparison import Console, Pace, Side, alternate
from benchmarks.fleet import Station, fleet, this_host
from benchmarks.gateway_instance import GatewayInstance
from benchmarks.load_client import LoadClient, LoadFailed, Target
from benchmarks.postfix_instance import PostfixInstance
from benchmarks.processes import Instance, InstanceFailed, OtherWork, free_port
from benchmarks.report import Report
from benchmarks.sides import LoadClientSide, SmtpSourceSide
from benchmarks.sink import Sink
from benchmarks.syncs import count_syncs

_HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A pattern of connections towards one side."""

    title: str
    connections: int
    keeps_connections: bool


ACCEPT_CASES = {
    "accept-10-one": Case(title="10 connections, one message each", connections=10, keeps_connections=False),
    "accept-10-many": Case(title="10 connections, many messages each", connections=10, keeps_connections=True),
    "accept-50-one": Case(title="50 connections, one message each", connections=50, keeps_connections=False),
    "accept-50-many": Case(title="50 connections, many messages each", connections=50, keeps_connections=True),
}

# What the in-house systems do. Both sides may keep their connections towards the sink in either case.
END_TO_END_CASES = {
    "e2e-one": Case(title="200 addresses, one message per connection", connections=200, keeps_connections=False),
    "e2e-kept": Case(title="200 addresses, kept connections", connections=200, keeps_connections=True),
}

_RUNS = count(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What the stages share: where, which cases, how long, and where the figures go."""

    folder: Path
    cases: Sequence[str]
    pace: Pace
    sync_messages: int  # 0: not counted
    without: Mapping[str, str]  # the sides that cannot be started here, and why
    console: Console
    report: Report


async def measure_accept(stage: Stage) -> None:
    """Every accept case, in turn: the gateway's listener alone against Postfix putting all mail on HOLD."""
    cases = [case for case in ACCEPT_CASES if case in stage.cases]
    if not cases and not stage.sync_messages:
        return
    stage.console.say("Durable accept")
    port = free_port()  # nobody listens there: nothing is delivered in this stage
    instances = (
        GatewayInstance(
            stage.folder / "gateway-accept",
            stations=[*fleet(50), this_host()],
            terminal_port=port,
            listener_only=True,
        ),
        PostfixInstance(stage.folder / "postfix-accept", sink_port=port),
    )
    async with _running(stage, instances) as running:
        for name in cases:
            case = ACCEPT_CASES[name]
            stage.console.say(case.title)
            sides = [_accept_side(instance, case) for instance in running]
            outcome = await alternate(case.title, sides, stage.pace, stage.console, stage.report.failures)
            stage.report.accept.append(outcome)
        case = ACCEPT_CASES["accept-10-many"]
        for instance in running:
            await _count(stage, f"accept, {case.title}", instance, _accept_side(instance, case))


async def measure_end_to_end(stage: Stage) -> None:
    """Both end-to-end cases: the same client and sink, through the gateway and through Postfix as a relay."""
    cases = [case for case in END_TO_END_CASES if case in stage.cases]
    if not cases and not stage.sync_messages:
        return
    stage.console.say("End-to-end")
    stations = fleet(200)
    hosts = [_HOST, *(station.ip for station in stations)]
    port = free_port(*hosts)
    sink = Sink()
    await sink.listen(hosts, port)
    instances = (
        GatewayInstance(stage.folder / "gateway", stations=stations, terminal_port=port),
        PostfixInstance(stage.folder / "postfix-relay", sink_port=port),
    )
    async with _running(stage, instances) as running:
        for name in cases:
            case = END_TO_END_CASES[name]
            stage.console.say(case.title)
            with _load_sides(sink, stations, running, keeps=case.keeps_connections) as sides:
                outcome = await alternate(case.title, sides, stage.pace, stage.console, stage.report.failures)
            stage.report.end_to_end.append(outcome)
        case = END_TO_END_CASES["e2e-kept"]
        with _load_sides(sink, stations, running, keeps=case.keeps_connections) as sides:
            for instance, side in zip(running, sides, strict=True):
                await _count(stage, f"end-to-end, {case.title}", instance, side)
    sink.close()
    if sink.unexpected:
        stage.report.notes.append(f"{sink.unexpected} messages came to the sink that nobody waited for")


def _accept_side(instance: Instance, case: Case) -> Side:
    program = postfix_instance.smtp_source()
    if program is None:
        # smtp-source comes with Postfix: where that is absent our own client stands in for it.
        target = Target(
            host=_HOST,
            port=instance.accept_port,
            keeps_connections=case.keeps_connections,
            is_expected=None,
        )
        client = LoadClient(Sink(), fleet(case.connections), target, run_name=_run_name())
        return LoadClientSide(name=instance.name, pid=instance.pid, client=client)
    return SmtpSourceSide(
        name=instance.name,
        pid=instance.pid,
        port=instance.accept_port,
        program=program,
        sender=this_host(),
        connections=case.connections,
        keeps_connections=case.keeps_connections,
    )


@contextmanager
def _load_sides(
    sink: Sink, stations: Sequence[Station], running: Iterable[Instance], *, keeps: bool
) -> Iterator[list[Side]]:
    """A load client for each running instance; their kept connections end with the case."""
    clients: list[LoadClient] = []
    sides: list[Side] = []
    for instance in running:
        target = Target(
            host=_HOST,
            port=instance.relay_port,
            keeps_connections=keeps,
            is_expected=instance.is_expected,
        )
        clients.append(LoadClient(sink, stations, target, run_name=_run_name()))
        sides.append(LoadClientSide(name=instance.name, pid=instance.pid, client=clients[-1]))
    try:
        yield sides
    finally:
        for client in clients:
            client.close()


def _run_name() -> str:
    return f"BENCH{next(_RUNS):04d}"


async def _count(stage: Stage, title: str, instance: Instance, side: Side) -> None:
    if not stage.sync_messages:
        return
    stage.console.progress(f"syncs, {title}: {side.name}")
    try:
        counted = await count_syncs(side, instance.pids, stage.sync_messages, stage.folder)
    except (InstanceFailed, LoadFailed, TimeoutError) as error:
        stage.report.failures.append(f"syncs, {title}, {side.name}: {error}")
    else:
        stage.report.syncs.setdefault(title, {})[side.name] = counted


@asynccontextmanager
async def _running(stage: Stage, instances: Iterable[Instance]) -> AsyncIterator[list[Instance]]:
    """Those that could be started; the failure of another is in the report. All are gone afterwards."""
    wanted = [instance for instance in instances if instance.name not in stage.without]
    async with AsyncExitStack() as stack:
        for instance in wanted:
            stack.push_async_callback(asyncio.to_thread, instance.stop)
        stage.console.progress("starting " + " and ".join(instance.name for instance in wanted))
        # Starting and stopping wait for other processes, which may wait for the sink in this one.
        starts = asyncio.gather(*(asyncio.to_thread(instance.start) for instance in wanted), return_exceptions=True)
        try:
            outcomes = await asyncio.shield(starts)
        except asyncio.CancelledError:
            await starts  # what is half started could not be stopped
            raise
        for outcome in outcomes:
            if isinstance(outcome, InstanceFailed):
                stage.report.failures.append(str(outcome))
                stage.console.say(f"FAILED: {outcome}")
            elif outcome is not None:
                raise outcome
        others = OtherWork()
        yield [instance for instance, outcome in zip(wanted, outcomes, strict=True) if outcome is None]
        stage.report.note_other_work(others.share())
