"""Why a web server gives no stream: FFmpeg only says that it could not be opened."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from urllib.parse import unquote, urlsplit, urlunsplit


def why_refused(address: str, timeout_s: float) -> str | None:
    """What a server says of an http:// or https:// address, with what to check; None where it says
    nothing that helps. Nothing of it holds a password."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit(parts._replace(netloc=host))
    try:
        answer = _opener(bare, parts.username, parts.password).open(bare, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            return _of_status(error.code)
    except urllib.error.URLError as error:
        return _of_fault(error.reason, host)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    with answer:
        kind: str = answer.headers.get_content_type()
    if kind.startswith("text/"):
        return f"it answers with {kind}, which is no stream: check the path of the address"
    return None


def _opener(url: str, user: str | None, password: str | None) -> urllib.request.OpenerDirector:
    """Asks as FFmpeg does: by Basic or Digest, and whatever the certificate is."""
    any_certificate = ssl.create_default_context()
    any_certificate.check_hostname, any_certificate.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=any_certificate))
    if user is not None:
        known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        known.add_password(None, url, unquote(user), unquote(password or ""))
        opener.add_handler(urllib.request.HTTPBasicAuthHandler(known))
        opener.add_handler(urllib.request.HTTPDigestAuthHandler(known))
    return opener


def _of_status(status: int) -> str:
    said = f"it answers {status} {http.client.responses.get(status, '')}".rstrip()
    if status in (401, 403):
        return f"{said}: check user and password"
    if status in (404, 410):
        return f"{said}: check the path of the address"
    return said


def _of_fault(reason: object, host: str) -> str | None:
    if isinstance(reason, ConnectionRefusedError):
        return f"nothing answers at {host}: check the port, and that the camera is on"
    if isinstance(reason, socket.gaierror):
        return f"there is no host {host}: check the address"
    return None
