"""Reading the content of a mail after DATA: one buffer, a size cap, a common budget of octets held in memory.

Only CR LF . CR LF ends the content; one leading dot is taken off each line (RFC 5321 §4.5.2); every other
octet stays as it came; bare line ends and NUL are reported, not repaired. Beyond the cap memory stays flat.
"""

from __future__ import annotations

from dataclasses import dataclass

_END = b"\r\n.\r\n"
_OVERLAP = len(_END) - 1


@dataclass(frozen=True, slots=True)
class ContentReport:
    """What the reader saw in one content. `size` is without the dots of transparency (RFC 1870 §4)."""

    size: int
    bare_cr: bool
    bare_lf: bool
    nul: bool
    too_long: bool

    @property
    def bare(self) -> bool:
        """Something no internet mail may hold (RFC 5321 §2.3.8): half a line end, or NUL."""
        return self.bare_cr or self.bare_lf or self.nul


@dataclass(slots=True)
class ContentBudget:
    """Octets of content a listener holds: new mails are taken up to half of `limit`, begun ones up to all."""

    limit: int
    used: int = 0

    def admits(self, declared: int) -> bool:
        """Whether another mail, of a declared size or 0, may begin."""
        return self.used + declared <= self.limit // 2


class ContentReader:
    """One content while it arrives. Its octets count against the budget until `release`.

    `keep` is the size up to which it is kept. Once `feed` has returned octets, `content` holds it, unless
    `over` (larger than `keep`) or `no_room` (the budget ran out) say that it was thrown away as it came.
    """

    __slots__ = (
        "_budget", "_buffer", "_charged", "_checked", "_cr", "_crlf", "_keep", "_lf", "_nul",
        "content", "no_room", "over", "received",
    )  # fmt: skip

    def __init__(self, keep: int, budget: ContentBudget) -> None:
        self._keep = keep
        self._budget = budget
        # Begins with the CR LF that ended the DATA command: it makes the first line one like every other.
        self._buffer = bytearray(b"\r\n")
        self._checked = 2
        self._charged = self._cr = self._lf = self._crlf = 0
        self._nul = False
        self.content = b""
        self.received = 0
        self.over = False
        self.no_room = False

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived. None while the content goes on, else the octets that followed its end."""
        buffer = self._buffer
        start = len(buffer) - _OVERLAP
        buffer += data
        self.received += len(data)
        end = buffer.find(_END, max(0, start))
        if end < 0:
            self._hold(len(data))
            return None
        rest = bytes(buffer[end + len(_END) :])
        self.received -= len(rest)
        del buffer[end + 2 :]
        if not self._dropped:
            self._finish(len(data) - len(rest))
        return rest

    def report(self, max_bytes: int) -> ContentReport:
        """What was seen; `too_long` is measured against `max_bytes`."""
        size = self.received if self._dropped else len(self.content)
        return ContentReport(
            size, self._cr != self._crlf, self._lf != self._crlf, self._nul, self._dropped or size > max_bytes
        )

    def release(self) -> None:
        """Give the octets back to the budget: the content is stored, refused or lost. May be called again."""
        self._budget.used -= self._charged
        self._charged = 0

    @property
    def _dropped(self) -> bool:
        return self.over or self.no_room

    def _hold(self, arrived: int) -> None:
        """Keep what came, within cap and budget; of a content thrown away only what may begin its end."""
        buffer = self._buffer
        if not self._dropped:
            self._charge(arrived)
            # What may still be a part of the end is looked at when that is known.
            self._check(len(buffer) - _OVERLAP)
            # A line of one dot comes as four octets and is three: more than a third is never taken off.
            self.over = len(buffer) - 2 > self._keep + self._keep // 3 + _OVERLAP
            if self._dropped:
                self.release()
        if self._dropped:
            del buffer[:-_OVERLAP]

    def _finish(self, arrived: int) -> None:
        buffer = self._buffer
        self._charge(arrived)
        self._check(len(buffer))
        del buffer[: 3 if buffer.startswith(b"\r\n.") else 2]
        self.content = bytes(buffer).replace(b"\r\n.", b"\r\n")
        self._buffer = bytearray()
        self.over = len(self.content) > self._keep
        if self._dropped:
            self.content = b""
            self.release()

    def _check(self, until: int) -> None:
        """Count the line ends up to there; a pair that spans the two parts belongs to the later one."""
        buffer, start = self._buffer, self._checked
        if until <= start:
            return
        self._cr += buffer.count(b"\r", start, until)
        self._lf += buffer.count(b"\n", start, until)
        self._crlf += buffer.count(b"\r\n", start - 1, until)
        self._nul = self._nul or buffer.find(0, start, until) >= 0
        self._checked = until

    def _charge(self, octets: int) -> None:
        self._charged += octets
        self._budget.used += octets
        self.no_room = self._budget.used > self._budget.limit
