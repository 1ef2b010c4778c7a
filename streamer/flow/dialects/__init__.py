"""Foreign wire formats, one module each. See ``message.Dialect`` for what a module has."""

from __future__ import annotations

from collections.abc import Mapping

from streamer.flow.dialects import adzmq, array_1_0, concert, dectris_v1, dectris_v2, karabo, ntndarray, odin, stins
from streamer.flow.dialects.message import Dialect, Traits

_MODULES: tuple[Dialect, ...] = (dectris_v1, dectris_v2, array_1_0, adzmq, stins, concert, odin, karabo)

DIALECTS: Mapping[str, Dialect] = {dialect.TRAITS.name: dialect for dialect in _MODULES}
"""Every dialect of messages in bytes, by the name in ``source.dialect``."""

TRAITS: Mapping[str, Traits] = {
    **{name: dialect.TRAITS for name, dialect in DIALECTS.items()},
    ntndarray.TRAITS.name: ntndarray.TRAITS,
}
"""The traits of every dialect, by its name."""
