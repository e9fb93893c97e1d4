"""The body of an answer: within bounds, without its compression, without secrets, as a value."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any, NoReturn

from orchestrator.core.errors import InDoubt, Unreadable
from orchestrator.core.model import Json

LARGEST = 8 * 1024 * 1024  # bytes of an answer, before and after decompression


class Doubled(dict[str, Any]):
    """A JSON object with a key twice: which of the two is meant nobody knows, so it is as if it were none."""


def unpacked(raw: bytes, encoding: str, at_most: int | None = None) -> bytes:
    """The body without its compression; its beginning where no more of it is wanted.

    Raises:
        InDoubt: it is torn, broken or too large.
    """
    if encoding in ("", "identity") or not raw:
        return raw[:at_most]
    if encoding.lower() not in ("gzip", "deflate"):
        raise Unreadable("the answer is compressed in a way that was not asked for")
    unpack = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    try:
        body = unpack.decompress(raw, (LARGEST if at_most is None else at_most) + 1)
    except zlib.error:
        raise Unreadable("the answer's compression is broken") from None
    if at_most is not None:
        return body[:at_most]
    if len(body) > LARGEST:
        too_large()
    if not unpack.eof:
        raise InDoubt("the answer is torn")
    return body


def too_large() -> NoReturn:
    """The answer is larger than any that is wanted."""
    raise Unreadable(f"the answer is larger than {LARGEST // 2**20} MiB")


def without(body: bytes, secrets: Iterable[bytes]) -> bytes:
    """The body with secrets blotted out: some servers repeat what they were sent."""
    for secret in secrets:
        if secret in body:
            body = body.replace(secret, b"***")
    return body


def value(body: bytes) -> Json:
    """The JSON value, or the text where it is none. Servers mislabel bodies, so the label is not asked."""
    decoded = body.decode("utf-8-sig", "replace")
    try:
        found: Json = _from_json(decoded)
    except (ValueError, RecursionError):
        return decoded
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else Doubled(made)


_from_json = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant).decode
