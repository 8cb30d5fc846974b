"""Every SMTP reply this gateway gives, as one line of ASCII rendered once (RFC 5321 §4.2, RFC 3463 codes).

A `Reply` cannot hold a control character or a non-ASCII one: whatever made it, no second reply hides in it.
Texts are constants; only a mail id, an incident id and the host's own name are filled in, never client input.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_LINE_OCTETS = 512  # RFC 5321 §4.5.3.1.5, CR LF included


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply line. `enhanced` is empty for the replies RFC 2034 §4 gives no code (greeting, HELO, 354).

    Raises ValueError when the line could not be sent as one valid reply.
    """

    code: int
    enhanced: str
    text: str
    wire: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        line = f"{self.code} {self.enhanced} {self.text}" if self.enhanced else f"{self.code} {self.text}"
        if not 200 <= self.code <= 599:
            raise ValueError(f"not a reply code: {self.code}")
        if self.enhanced and self.enhanced[0] != str(self.code)[0]:
            raise ValueError(f"{self.enhanced} is of another class than {self.code}")
        if not (line.isascii() and line.isprintable()) or len(line) > _LINE_OCTETS - 2:
            raise ValueError("a reply is one short line of printable ASCII")
        object.__setattr__(self, "wire", line.encode("ascii") + b"\r\n")

    @property
    def accepts(self) -> bool:
        """True for the 2xx class."""
        return self.code < 300


# Accepted.
OK = Reply(250, "2.0.0", "Ok")
SENDER_OK = Reply(250, "2.1.0", "Sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok")
START_CONTENT = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
BYE = Reply(221, "2.0.0", "Closing connection")
CANNOT_VERIFY = Reply(252, "2.5.0", "Addresses are checked at RCPT")
HELP = Reply(214, "2.0.0", "Commands: HELO EHLO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP")

# The command itself.
BARE_COMMAND_END = Reply(500, "5.5.2", "Commands end in CR LF")
COMMAND_TOO_LONG = Reply(500, "5.5.2", "Command line too long")
UNKNOWN_COMMAND = Reply(500, "5.5.2", "Command not recognized")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
NEED_HELO = Reply(503, "5.5.1", "Send HELO first")
NESTED_MAIL = Reply(503, "5.5.1", "A mail is already begun")
NEED_MAIL = Reply(503, "5.5.1", "Send MAIL first")
NEED_RCPT = Reply(503, "5.5.1", "No recipient was accepted")
HELO_SYNTAX = Reply(501, "5.5.4", "Give your host name")
MAIL_SYNTAX = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
RCPT_SYNTAX = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
NO_ARGUMENT = Reply(501, "5.5.4", "This command takes no argument")
PARAMETER_SYNTAX = Reply(501, "5.5.4", "Parameter not understood")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not supported")
BAD_SENDER = Reply(501, "5.1.7", "Bad sender address syntax")
BAD_RECIPIENT = Reply(501, "5.1.3", "Bad recipient address syntax")

# Who may send what to whom.
UNKNOWN_ADDRESS = Reply(550, "5.1.1", "Address unknown here")
NOT_PERMITTED = Reply(550, "5.7.1", "Not permitted")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")

# The content.
TOO_LARGE = Reply(552, "5.3.4", "Mail is larger than this listener takes")
BARE_LINE_END = Reply(550, "5.5.2", "Bare CR, bare LF or NUL in the content")

# Our own state, always temporary.
NO_ROOM = Reply(452, "4.3.1", "No room for this mail now, try later")
KEY_NOT_FOUND_NOW = Reply(451, "4.4.3", "The key of the mail's signature cannot be looked up now, try later")
UNAVAILABLE = Reply(451, "4.3.0", "Temporarily unavailable, try later")
NOT_READY = Reply(421, "4.3.0", "Service not available, try later")
SHUTTING_DOWN = Reply(421, "4.3.2", "Service is shutting down, try later")
TIMED_OUT = Reply(421, "4.4.2", "Timed out, closing connection")
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections, try later")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors")
SESSION_OVER = Reply(421, "4.7.0", "This connection served long enough, open another")


def queued(mail_id: int) -> Reply:
    """The acceptance at the dot. Give it only after the commit."""
    return Reply(250, "2.0.0", f"queued as {mail_id}")


def incident(incident_id: str) -> Reply:
    """Our own failure: temporary, and naming nothing but the line to look for in the log."""
    return Reply(451, "4.3.0", f"Local trouble, try later, incident {incident_id}")


def greeting(hostname: str) -> Reply:
    """The 220 of a new connection."""
    return Reply(220, "", f"{hostname} ESMTP ready")


def hello(hostname: str) -> Reply:
    """The answer to HELO."""
    return Reply(250, "", hostname)


def extended_hello(hostname: str, max_message_bytes: int) -> bytes:
    """The answer to EHLO, several lines for one write: the extensions that are really served, no other."""
    lines = (f"250-{hostname}", f"250-SIZE {max_message_bytes}", "250-8BITMIME", "250 ENHANCEDSTATUSCODES")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")
