"""Strict reading of the arguments of MAIL and RCPT, path and parameters (RFC 5321 §4.1.2, §4.5.3.1).

Arguments are text of one character per octet (Latin-1), so nothing is decoded before it is judged. Accepted
is printable ASCII without spaces; source routes, comments, encoded words, percent and bang addressing and
quoted at-signs are refused. Nothing but `PathError`, which carries the reply to give, is ever raised.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from functools import lru_cache

from gateway import smtp_replies as replies
from gateway.smtp_replies import Reply

_LOCAL_OCTETS = 64  # RFC 5321 §4.5.3.1.1
_DOMAIN_OCTETS = 255  # §4.5.3.1.2
_ADDRESS_OCTETS = 254  # §4.5.3.1.3: 256 with the brackets

# RFC 5322 §3.2.3 without "!" and "%": both are ways to name another destination inside a local part.
_ATEXT = r"[A-Za-z0-9#$&'*+/=?^_`{|}~-]"
_DOT_ATOM = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED = r'"(?:[!#-\[\]-~]|\\[!-~])+"'
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_LITERAL = r"\[[0-9A-Za-z.:]{2,48}\]"

_ADDRESS = re.compile(rf"({_DOT_ATOM}|{_QUOTED})@({_DOMAIN}|{_LITERAL})")
_IS_DOT_ATOM = re.compile(_DOT_ATOM)
_QUOTED_PAIR = re.compile(r"\\(.)")
_NEEDS_PAIR = re.compile(r'["\\]')
_FORBIDDEN_IN_LOCAL = re.compile(r"[@%!<>]|=\?")

_BRACKETED = r"<(?P<path>[^<>\s]*)>"
_PARAMETERS = r"(?: +(?P<parameters>[!-~]+(?: +[!-~]+)*))?"
_MAIL = re.compile(rf"FROM:{_BRACKETED}{_PARAMETERS}", re.IGNORECASE)
_TOLERANT_MAIL = re.compile(rf"FROM: *(?:{_BRACKETED}|(?P<bare>[^<>\s]+)){_PARAMETERS}", re.IGNORECASE)
_RCPT = re.compile(rf"TO:{_BRACKETED}{_PARAMETERS}", re.IGNORECASE)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")  # RFC 5321 §4.1.2
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 §4

_CACHED_PATHS = 4096  # the same in-house systems come again and again


class PathError(Exception):
    """The argument is refused with `reply`."""

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Path:
    """An envelope address. `wire` keeps the octets as they came, for the audit log only."""

    local: str
    """Local part in its shortest form: quoted only where it must be."""
    domain: str
    """Lower-case, a name or an address literal; empty for the null sender and the bare `<postmaster>`."""
    wire: bytes
    address: str = field(init=False)
    """`local@domain`; `postmaster` alone; "" for the null sender."""
    key: str = field(init=False)
    """The whole address in lower case: addresses compare case-insensitively in the map."""

    def __post_init__(self) -> None:
        address = f"{self.local}@{self.domain}" if self.domain else self.local
        object.__setattr__(self, "address", address)
        object.__setattr__(self, "key", address.lower())


NULL_SENDER = Path("", "", b"")


@lru_cache(maxsize=_CACHED_PATHS)
def parse_address(raw: str) -> Path:
    """The path for what stands between the brackets. Raises PathError, also for "": no address is no path."""
    if len(raw) > _ADDRESS_OCTETS:
        raise PathError(replies.BAD_SENDER, "address too long")
    match = _ADDRESS.fullmatch(raw)
    if match is None:
        raise PathError(replies.BAD_SENDER, "not a dot-atom or quoted string at a domain")
    local, domain = match.groups()
    if len(local) > _LOCAL_OCTETS or len(domain) > _DOMAIN_OCTETS:
        raise PathError(replies.BAD_SENDER, "local part or domain too long")
    local = _shortest_local(local)
    domain = _canonical_literal(domain[1:-1]) if domain[0] == "[" else domain.lower()
    return Path(local, domain, raw.encode("ascii"))


def parse_mail(argument: str, *, tolerant: bool, esmtp: bool) -> tuple[Path, int]:
    """Sender and declared size (0 for none) from what follows `MAIL `. Raises PathError.

    `tolerant` admits the known in-house clients: no brackets, spaces after the colon. Parameters are for
    sessions that began with EHLO.
    """
    match = (_TOLERANT_MAIL if tolerant else _MAIL).fullmatch(argument)
    if match is None:
        raise PathError(replies.MAIL_SYNTAX, "not FROM:<address>")
    raw, unbracketed, parameters = match["path"], match["bare"] if tolerant else None, match["parameters"]
    size = _declared_size(parameters, esmtp) if parameters else 0
    raw = unbracketed if raw is None else raw
    return (parse_address(raw) if raw else NULL_SENDER), size


def parse_rcpt(argument: str) -> Path:
    """Recipient from what follows `RCPT `. Raises PathError; no parameter is known here."""
    match = _RCPT.fullmatch(argument)
    if match is None:
        raise PathError(replies.RCPT_SYNTAX, "not TO:<address>")
    raw = match["path"]
    if match["parameters"]:
        raise PathError(replies.UNKNOWN_PARAMETER, "RCPT has no parameter")
    if raw.lower() == "postmaster":  # RFC 5321 §4.5.1: the one mailbox that needs no domain
        return Path("postmaster", "", raw.encode("ascii"))
    try:
        return parse_address(raw)
    except PathError as error:
        raise PathError(replies.BAD_RECIPIENT, str(error)) from None


def _declared_size(parameters: str, esmtp: bool) -> int:
    """SIZE (RFC 1870) and BODY (RFC 6152) are served; the value of BODY changes nothing here."""
    found: dict[str, str | None] = {}
    for word in parameters.split():
        match = _PARAMETER.fullmatch(word)
        if match is None or match[1].upper() in found:
            raise PathError(replies.PARAMETER_SYNTAX, "malformed or given twice")
        found[match[1].upper()] = match[2]
    if not esmtp or not found.keys() <= {"SIZE", "BODY"}:
        raise PathError(replies.UNKNOWN_PARAMETER, "not offered")
    size, body = found.get("SIZE", "0") or "", found.get("BODY", "7BIT") or ""
    if _SIZE.fullmatch(size) is None or body.upper() not in {"7BIT", "8BITMIME"}:
        raise PathError(replies.PARAMETER_SYNTAX, "bad value")
    return int(size)


def _shortest_local(local: str) -> str:
    """RFC 5321 §4.1.2: `"a"@x`, `"\\a"@x` and `a@x` are one mailbox, so they must have one key."""
    quoted = local[0] == '"'
    content = _QUOTED_PAIR.sub(r"\1", local[1:-1]) if quoted else local
    if _FORBIDDEN_IN_LOCAL.search(content):
        raise PathError(replies.BAD_SENDER, "local part names another destination")
    if not quoted or _IS_DOT_ATOM.fullmatch(content):
        return content
    return '"' + _NEEDS_PAIR.sub(r"\\\g<0>", content) + '"'


def _canonical_literal(text: str) -> str:
    """An address literal in one spelling (RFC 5321 §4.1.3); general literals have no registered use."""
    try:
        if text[:5].lower() == "ipv6:":
            return f"[ipv6:{ipaddress.IPv6Address(text[5:]).compressed}]"
        return f"[{ipaddress.IPv4Address(text)}]"
    except ValueError:
        raise PathError(replies.BAD_SENDER, "not an IP address literal") from None
