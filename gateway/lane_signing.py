"""Notices signed on their way out: off the loop, once each, and never with a signature that does not hold."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.failures import NotSigned

if TYPE_CHECKING:  # whoever only reads the settings of lanes need not wait for cryptography
    from gateway.signing import Signer

log = logging.getLogger("gateway.delivery")

_HEADER_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header block that a mail leaves under, and where its body begins in its content."""

    header: bytes
    body_offset: int


class NoticeSigning:
    """One for all lanes of a process; without a signer every mail leaves as it is."""

    def __init__(self) -> None:
        self.signer: Signer | None = None
        self._told = False  # of a fault that goes on

    async def header(self, content: bytes) -> SignedHeader | None:
        """The mail's own header block below its signature; None for a mail that is not ours to sign.

        Raises NotSigned when no signature that holds can be made; the first of a row of such faults is logged.
        """
        signer = self.signer
        if signer is None or not signer.signs(content):
            return None
        try:
            # The host's clock, wherever the sandbox's was moved: receivers compare with theirs.
            signature = await asyncio.to_thread(signer.sign, content, datetime.now(UTC))
        except NotSigned as fault:
            if not self._told:
                log.error("notices wait, none can be signed: %s", fault)  # noqa: TRY400 - the reason says it
            self._told = True
            raise
        self._told = False
        end = content.find(_HEADER_END)
        body_offset = len(content) if end < 0 else end + len(_HEADER_END)
        return SignedHeader(signature + content[:body_offset], body_offset)
