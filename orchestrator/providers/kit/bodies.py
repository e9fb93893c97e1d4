"""Bodies of answers: unpacked within bounds, freed of secrets, and read as JSON where they are any."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import NoReturn

from orchestrator.core.errors import InDoubt
from orchestrator.core.model import Json

LARGEST = 8 * 1024 * 1024  # bytes of an answer, before and after decompression


def unpacked(raw: bytes, encoding: str) -> bytes:
    """The body without its compression.

    Raises:
        InDoubt: it is torn, broken or too large.
    """
    if encoding in ("", "identity") or not raw:
        return raw
    if encoding.lower() not in ("gzip", "deflate"):
        raise InDoubt("the answer is compressed in a way that was not asked for")
    unpack = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    try:
        body = unpack.decompress(raw, LARGEST + 1)
    except zlib.error:
        raise InDoubt("the answer's compression is broken") from None
    if len(body) > LARGEST:
        too_large()
    if not unpack.eof:
        raise InDoubt("the answer is torn")
    return body


def too_large() -> NoReturn:
    """The answer is larger than any that is wanted."""
    raise InDoubt(f"the answer is larger than {LARGEST // 2**20} MiB")


def blotted(body: bytes, hidden: Iterable[bytes]) -> bytes:
    """The body with secrets blotted out: some servers repeat what they were sent."""
    for secret in hidden:
        if secret in body:
            body = body.replace(secret, b"***")
    return body


def value(body: bytes) -> Json:
    """The JSON value, or the text where it is none. Servers mislabel bodies, so the label is not asked."""
    text = body.decode("utf-8", "replace")
    try:
        found: Json = _from_json(text)
    except (ValueError, RecursionError):
        return text
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON


to_json = json.JSONEncoder(separators=(",", ":")).encode
_from_json = json.JSONDecoder(parse_constant=_no_constant).decode
