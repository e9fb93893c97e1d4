"""YAML that services and their clients write, as plain values; what people write for us is read in `manifest`."""

from __future__ import annotations

from typing import Any


def read_plain(raw: bytes, at_most: int) -> object:
    """The one document in these bytes; its anchors may be repeated, and nothing is merged, made or run.

    Args:
        at_most: bytes.

    Raises:
        ValueError: it is longer, or no such YAML. The error says no word of the text, which may hold secrets.
    """
    import yaml  # only where there is some: the client must stay quick to start

    if len(raw) > at_most:
        raise ValueError("too long")
    try:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(raw)
        loader.flatten_mapping = lambda node: None  # a few lines of `<<` fill any memory
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError):
        pass
    raise ValueError("not YAML")
