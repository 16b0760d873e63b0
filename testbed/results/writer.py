"""Writing what a run brought: typed records as Parquet, everything else as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from msgspec import inspect

VARIANT_COLUMN = "policy"


def write_json(path: Path, content: Any) -> None:
    """Write an object as indented JSON; numbers that are not finite become null.

    Args:
        path: the file; replaced as a whole.
        content: dictionaries, lists, structs, dataclasses, numpy scalars, paths.
    """
    encoded = msgspec.json.encode(content, enc_hook=_plain)
    write_whole(path, msgspec.json.format(encoded, indent=2) + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all.

    Raises:
        OSError: it cannot be written; what was there before is.
    """
    made = path.with_name(f".{path.name}.part")
    try:
        made.write_bytes(content)
        made.replace(path)
    except OSError:
        made.unlink(missing_ok=True)
        raise


def plain(content: Any) -> Any:
    """The same as dictionaries, lists, strings and finite numbers: what reading it back gives."""
    return msgspec.json.decode(msgspec.json.encode(content, enc_hook=_plain))


def _plain(value: object) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, PathLike):
        return fspath(value)
    raise NotImplementedError(f"{type(value).__name__} cannot be stored as JSON")


def write_tables(path: Path, by_variant: Mapping[str, Sequence[msgspec.Struct]]) -> None:
    """Write the records of all variants as one table, with a first column `policy`.

    Where no variant has a record, the table has that column only.
    """
    kinds = {type(record) for records in by_variant.values() for record in records[:1]}
    if len(kinds) > 1:
        raise TypeError(f"{path.name}: variants have records of different types: {kinds}")
    frames = [
        frame(records).select(pl.lit(variant).alias(VARIANT_COLUMN), pl.all())
        for variant, records in by_variant.items()
        if records
    ]
    empty = pl.DataFrame(schema={VARIANT_COLUMN: pl.String})
    (pl.concat(frames) if frames else empty).write_parquet(path)


def frame(records: Sequence[msgspec.Struct]) -> pl.DataFrame:
    """Records of one type as a table; column types follow the fields', not what is in them."""
    if not records:
        return pl.DataFrame()
    columns: dict[str, pl.Series] = {}
    for name, dtype in _columns(type(records[0])).items():
        values: list[Any] = [getattr(record, name) for record in records]
        if dtype is None:
            # A mapping has no columns that are the same in every run: it is stored as JSON text.
            values = [msgspec.json.encode(value).decode() for value in values]
        columns[name] = pl.Series(name, values, dtype=dtype or pl.String())
    return pl.DataFrame(columns)


def schema(kind: type[msgspec.Struct]) -> dict[str, pl.DataType]:
    """The columns that records of a type are written as."""
    return {name: dtype or pl.String() for name, dtype in _columns(kind).items()}


def _columns(kind: type[msgspec.Struct]) -> dict[str, pl.DataType | None]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return {field.name: _dtype(field.type) for field in described.fields}


def _dtype(described: inspect.Type) -> pl.DataType | None:
    """The column type of a field; None for what no column type fits."""
    match described:
        case inspect.BoolType():
            return pl.Boolean()
        case inspect.IntType():
            return pl.Int64()
        case inspect.FloatType():
            return pl.Float64()
        case inspect.StrType() | inspect.EnumType() | inspect.LiteralType():
            return pl.String()
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            inner = _dtype(item)
            return None if inner is None else pl.List(inner)
        case inspect.UnionType(types=types):
            kinds = [kind for kind in types if not isinstance(kind, inspect.NoneType)]
            return _dtype(kinds[0]) if len(kinds) == 1 else None
        case _:
            return None
