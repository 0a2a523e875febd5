"""Digest authentication with MD5 (RFC 2617, RFC 8760): what phones answer and what servers ask and check."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from .message import split_list


def parse(value: str) -> dict[str, str]:
    """The parameters of a challenge or of credentials, names in lower case, quotes taken off."""
    scheme, _, rest = value.partition(" ")
    found = {"scheme": scheme.lower()}
    for item in split_list(rest):
        name, _, text = item.partition("=")
        found[name.strip().lower()] = text.strip().strip('"')
    return found


def challenge(realm: str, nonce: str, stale: bool) -> str:
    """The value of a WWW-Authenticate header."""
    text = f'Digest realm="{realm}",nonce="{nonce}",algorithm=MD5,qop="auth"'
    return text + ",stale=true" if stale else text


def credentials(
    asked: Mapping[str, str], user: str, password: str, method: str, uri: str, count: int, cnonce: str
) -> str:
    """The value of an Authorization header that answers the challenge `asked` (as `parse` gave it)."""
    given = {"username": user, "realm": asked.get("realm", ""), "nonce": asked.get("nonce", ""), "uri": uri}
    if "auth" in asked.get("qop", "").replace(" ", "").split(","):
        given |= {"qop": "auth", "nc": f"{count:08x}", "cnonce": cnonce}
    given["response"] = expected(given, password, method)
    if "opaque" in asked:
        given["opaque"] = asked["opaque"]
    bare = {"qop", "nc"}
    items = (f"{name}={text}" if name in bare else f'{name}="{text}"' for name, text in given.items())
    return f"Digest {','.join(items)},algorithm=MD5"


def expected(given: Mapping[str, str], password: str, method: str) -> str:
    """The `response` that credentials with these parameters must carry (RFC 2617 3.2.2.1)."""
    secret = _md5(f"{given.get('username', '')}:{given.get('realm', '')}:{password}")
    asked = _md5(f"{method}:{given.get('uri', '')}")
    if not given.get("qop"):
        return _md5(f"{secret}:{given.get('nonce', '')}:{asked}")
    middle = ":".join(given.get(name, "") for name in ("nonce", "nc", "cnonce", "qop"))
    return _md5(f"{secret}:{middle}:{asked}")


def matches(given: Mapping[str, str], password: str, method: str) -> bool:
    """Whether the credentials prove the password."""
    return hmac.compare_digest(given.get("response", "").encode(), expected(given, password, method).encode())


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
