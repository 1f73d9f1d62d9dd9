"""Values: what an entry may hold, as bytes (MessagePack) and as JSON.

A value is None, a bool, an integer, a float (NaN and the infinities too), text, bytes, an aware datetime, a
:class:`Path`, or a list or map of values; the keys of a map are text or integers that fit 64 bits. As bytes it is one
MessagePack object with three extension types:

====  =========================================================================================
type  meaning
====  =========================================================================================
-1    timestamp, as MessagePack defines it; read with microseconds, in UTC
2     an integer outside -2**63 .. 2**64-1: two's complement, big-endian, as short as it can be
3     a path: its text form in UTF-8
====  =========================================================================================

Equal values give equal bytes: a time zone is turned into UTC, every NaN is the same one, a tuple is a list, and a
map keeps its order (``canonical=True`` sorts it: integers before text). What JSON cannot carry is written there as
a map with a single key (see :func:`to_json`):

========================  ===================================================================
JSON                      meaning
========================  ===================================================================
``{"$bytes": "aGk="}``    bytes, in base64
``{"$time": "...Z"}``     a time, RFC 3339 in UTC
``{"$path": "a.:3"}``     a path in its text form
``{"$float": "nan"}``     a float that is no number: ``nan``, ``inf`` or ``-inf``
``{"$map": [[k, v]]}``    a map with integer keys, or one that would read as one of these tags
========================  ===================================================================

These five tags are all there are; a map with any other single key is just that map.
"""

from __future__ import annotations

from .value_bytes import (
    EXT_BIG_INT,
    EXT_PATH,
    MAX_DEPTH,
    MAX_INT_BYTES,
    MAX_VALUE_BYTES,
    ValueCodecError,
    ValueDecodeError,
    ValueTooLarge,
    ValueTypeError,
    pack,
    unpack,
)
from .value_json import MAX_JSON_CHARS, dump_json, from_json, load_json, to_json

__all__ = [
    "EXT_BIG_INT",
    "EXT_PATH",
    "MAX_DEPTH",
    "MAX_INT_BYTES",
    "MAX_JSON_CHARS",
    "MAX_VALUE_BYTES",
    "ValueCodecError",
    "ValueDecodeError",
    "ValueTooLarge",
    "ValueTypeError",
    "dump_json",
    "from_json",
    "load_json",
    "pack",
    "to_json",
    "unpack",
]
