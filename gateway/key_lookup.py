"""Looking up DKIM key records in the DNS: what is there, what is not there, or trouble that may pass.

A record that is not there is an answer; a server that fails, stays silent, or answers nonsense is trouble
(`LookupTrouble`). Answers are kept for their time to live, the absence of a record never: a key just published counts
at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

import dns.exception
import dns.name
from dns.asyncresolver import Resolver
from dns.nameserver import Do53Nameserver
from dns.resolver import NXDOMAIN, Answer, NoResolverConfiguration

from gateway.setting_desk import address_and_port

_MOST_KEPT = 1000
_LONGEST_KEPT = 3600.0
_MOST_OCTETS_KEPT = 8192  # of one name; no key record is longer
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class LookupTrouble:
    """The DNS gave no answer; another time it may."""

    reason: str


class KeyLookup:
    """TXT records by name, asked of `nameservers` (address or address:port; none: those of the system).

    `timeout`: seconds for all names of one call together.
    """

    def __init__(self, nameservers: Sequence[str], timeout: float) -> None:
        self._nameservers = [Do53Nameserver(*address_and_port(each)) for each in nameservers]
        self._timeout = timeout
        self._resolver: Resolver | None = None
        self._kept: dict[str, tuple[float, tuple[bytes, ...]]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def texts(self, names: Iterable[str]) -> dict[str, tuple[bytes, ...] | LookupTrouble]:
        """The TXT records of each name, their strings joined; () where there are none, or the trouble there was."""
        tasks = {name: asyncio.ensure_future(self._texts(name)) for name in dict.fromkeys(names)}
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=self._timeout)
        finally:
            late = [task for task in tasks.values() if not task.done()]
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        return {
            name: LookupTrouble(f"{name}: no answer in time") if task in late else task.result()
            for name, task in tasks.items()
        }

    async def _texts(self, name: str) -> tuple[bytes, ...] | LookupTrouble:
        until, kept = self._kept.get(name, (0.0, ()))
        if monotonic() < until:
            return kept
        try:
            question = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return ()  # a name that the DNS cannot hold
        try:
            async with self._turns:
                answer = await self._opened().resolve(
                    question, "TXT", lifetime=self._timeout, search=False, raise_on_no_answer=False
                )
        except NXDOMAIN:
            return ()
        except Exception as error:  # noqa: BLE001 - whatever it is, there was no answer
            return LookupTrouble(f"{name}: {type(error).__name__}")
        return self._keep(name, answer)

    def _opened(self) -> Resolver:
        """The resolver; the system's own configuration is read at the first question."""
        if self._resolver is None:
            resolver = Resolver(configure=not self._nameservers)
            if self._nameservers:
                resolver.nameservers = list(self._nameservers)
            elif not resolver.nameservers:
                raise NoResolverConfiguration
            self._resolver = resolver
        return self._resolver

    def _keep(self, name: str, answer: Answer) -> tuple[bytes, ...]:
        if answer.rrset is None:
            return ()
        texts = tuple(b"".join(record.strings) for record in answer.rrset)
        if sum(map(len, texts)) > _MOST_OCTETS_KEPT:
            return texts
        if len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[name] = (monotonic() + min(answer.rrset.ttl, _LONGEST_KEPT), texts)
        return texts
