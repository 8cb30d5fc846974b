"""OpenDKIM's own programs (Debian: opendkim, opendkim-tools) as second opinion on signatures.

`opendkim -t` reads key records from a file. `opendkim-testmsg` asks the DNS at port 53 of the system's resolver, so it
runs in a network and mount namespace of its own, with the answers given there.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
_OPENDKIM = shutil.which("opendkim", path=_PATH)
_TESTMSG = shutil.which("opendkim-testmsg", path=_PATH)
_UNSHARE = shutil.which("unshare", path=_PATH)
_ROOT = Path(__file__).parents[2]

needs_opendkim = pytest.mark.skipif(_OPENDKIM is None, reason="OpenDKIM is not installed (Debian: opendkim)")
needs_testmsg = pytest.mark.skipif(
    _TESTMSG is None, reason="opendkim-testmsg is not installed (Debian: opendkim-tools)"
)


def verified_by_opendkim(directory: Path, raw: bytes, name: str, record: str) -> str:
    """What `opendkim -t` says of a mail when that record is in the DNS: one line."""
    assert _OPENDKIM is not None
    keys, configuration, mail = (directory / part for part in ("keys", "opendkim.conf", "mail.eml"))
    keys.write_text(f"{name.rstrip('.')} {record}\n", encoding="ascii")
    configuration.write_text(
        f"Mode v\nSyslog no\nTestPublicKeys {keys}\nSocket local:{directory / 'none'}\n", encoding="ascii"
    )
    mail.write_bytes(raw)
    command = [_OPENDKIM, "-x", str(configuration), "-v", "-t", str(mail)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    return done.stdout.decode().splitlines()[-1].partition("mail.eml: ")[2]


def signed_by_opendkim(directory: Path, raw: bytes, key: bytes, selector: str, domain: str, forms: str) -> bytes:
    """The mail under the signature that `opendkim -t` puts on it."""
    assert _OPENDKIM is not None
    file, configuration, mail = (directory / part for part in ("key.pem", "signing.conf", "unsigned.eml"))
    _write_key(file, key)
    fields = "From,To,Subject,Date,Message-ID,MIME-Version,Content-Type,Content-Transfer-Encoding"
    configuration.write_text(
        f"Mode s\nSyslog no\nRequireSafeKeys no\nDomain {domain}\nSelector {selector}\nKeyFile {file}\n"
        f"SignatureAlgorithm rsa-sha256\nCanonicalization {forms}\nSignHeaders {fields}\nOversignHeaders {fields}\n"
        f"InternalHosts 0.0.0.0/0\nSocket local:{directory / 'none'}\n",
        encoding="ascii",
    )
    mail.write_bytes(raw)
    done = subprocess.run(
        [_OPENDKIM, "-x", str(configuration), "-t", str(mail), "-vv"], capture_output=True, check=True, timeout=30
    )
    value = done.stdout.partition(b"hname='DKIM-Signature' hvalue='")[2].partition(b"'")[0]
    return b"DKIM-Signature: " + value.replace(b"\n", b"\r\n") + b"\r\n" + raw


def signed_by_testmsg(directory: Path, raw: bytes, key: bytes, selector: str, domain: str) -> bytes:
    """The mail as `opendkim-testmsg` signs it: always by rsa-sha1."""
    assert _TESTMSG is not None
    file = directory / "key.pem"
    _write_key(file, key)
    command = [_TESTMSG, "-C", "-d", domain, "-k", str(file), "-s", selector]
    return subprocess.run(command, input=raw, capture_output=True, check=True, timeout=30).stdout


def accepted_by_testmsg(directory: Path, raw: bytes, name: str, record: str) -> bool:
    """Whether `opendkim-testmsg` finds nothing to complain of. Skips where no namespace may be made."""
    assert _TESTMSG is not None
    if _UNSHARE is None or subprocess.run([_UNSHARE, "-rmn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("opendkim-testmsg needs namespaces of its own, which this machine does not let us make")
    for part, content in (("mail.eml", raw), ("name", name.encode()), ("record", record.encode())):
        (directory / part).write_bytes(content)
    command = [_UNSHARE, "-rmn", sys.executable, "-m", "tests.fakes.opendkim", _TESTMSG, str(directory)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, cwd=_ROOT)
    assert done.returncode in (0, 1), done.stderr.decode()
    return done.returncode == 0


def _write_key(file: Path, key: bytes) -> None:
    file.touch(0o600)
    file.write_bytes(key)


def _in_the_namespace(program: str, directory: Path) -> int:
    """Be the DNS of this namespace at port 53 while the program judges the mail; 0 when it accepts, else 1."""
    _bring_loopback_up()
    resolver = directory / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:1\n", encoding="ascii")
    libc = ctypes.CDLL(None, use_errno=True)
    bind = 4096
    target = os.path.realpath("/etc/resolv.conf").encode()
    if libc.mount(str(resolver).encode(), target, None, bind, None):
        raise OSError(ctypes.get_errno(), "resolv.conf could not be replaced")
    from tests.fakes.dns_server import DnsServer

    answers = DnsServer()
    answers.texts = {(directory / "name").read_text(): [(directory / "record").read_bytes()]}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link, (directory / "mail.eml").open("rb") as mail:
        link.bind(("127.0.0.1", 53))
        link.settimeout(0.05)
        judging = subprocess.Popen([program], stdin=mail, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while judging.poll() is None:
            try:
                question, peer = link.recvfrom(4096)
            except TimeoutError:
                continue
            link.sendto(answers.answer(question) or b"", peer)
    said = judging.communicate()[0]
    return 0 if judging.returncode == 0 and not said else 1


def _bring_loopback_up() -> None:
    up = 0x1 | 0x40  # IFF_UP | IFF_RUNNING
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        fcntl.ioctl(link, 0x8914, struct.pack("16sH14s", b"lo", up, b""))  # SIOCSIFFLAGS


if __name__ == "__main__":
    sys.exit(_in_the_namespace(sys.argv[1], Path(sys.argv[2])))
