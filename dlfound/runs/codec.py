"""Dataclasses to JSON and tensors, and back. Their annotations are the schema: every value is checked.

In JSON a tensor is represented by its shape; the tensor itself has its field's name, such as `best.params`.
"""

import math
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from dlfound.config.setting_types import setting_type

Tensors = dict[str, Tensor]


class BadField(Exception):
    """A value that does not fit the annotation of its field; the argument is the field's name."""


def split(value: Any, name: str = "") -> tuple[Any, Tensors]:
    """The JSON value and the tensors of a dataclass, a list, a dictionary, a tensor or a plain value."""
    if isinstance(value, Tensor):
        return list(value.shape), {name: value}
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, list):
        items = [split(item, _join(name, str(i))) for i, item in enumerate(value)]
        return [item for item, _ in items], _merged(tensors for _, tensors in items)
    if isinstance(value, dict):
        parts = {key: split(item, _join(name, key)) for key, item in value.items()}
        return {key: item for key, (item, _) in parts.items()}, _merged(t for _, t in parts.values())
    return value, {}


def read(kind: Any, value: Any, tensors: Tensors, name: str = "", *, extra: bool = False) -> Any:
    """The value of type `kind` that `split` took apart.

    Args:
        kind: a dataclass, or the annotation of a field: Tensor, a type of `config.setting_types`, bool, int,
            float, str, Literal, list, dict, or one of these or None.
        extra: True where a dataclass's dictionary may hold other keys too.

    Raises:
        BadField: a value is missing, or is not of its field's type.
    """
    origin = get_origin(kind)
    if kind is Tensor:
        return _tensor(value, tensors, name)
    if is_dataclass(kind):
        return _dataclass(kind, value, tensors, name, extra)
    if origin is list:
        items = _checked(value, list, name)
        return [read(get_args(kind)[0], v, tensors, _join(name, str(i))) for i, v in enumerate(items)]
    if origin is dict:
        pairs = _checked(value, dict, name).items()
        return {key: read(get_args(kind)[1], v, tensors, _join(name, key)) for key, v in pairs}
    if origin in (Union, UnionType):
        (some,) = (part for part in get_args(kind) if part is not NoneType)
        return None if value is None else read(some, value, tensors, name)
    return _plain(kind, origin, value, name)


def _dataclass(kind: Any, value: Any, tensors: Tensors, name: str, extra: bool) -> Any:
    types = get_type_hints(kind, include_extras=True)
    values = _checked(value, dict, name)
    missing = [field for field in types if field not in values]
    unknown = [] if extra else [field for field in values if field not in types]
    if wrong := missing + unknown:
        raise BadField(_join(name, wrong[0]))
    return kind(**{
        field: read(kind_of_field, values[field], tensors, _join(name, field), extra=extra)
        for field, kind_of_field in types.items()
    })  # fmt: skip


def _tensor(value: Any, tensors: Tensors, name: str) -> Tensor:
    if name not in tensors or list(tensors[name].shape) != value:
        raise BadField(name)
    return tensors[name]


def _plain(kind: Any, origin: Any, value: Any, name: str) -> Any:
    if kind is Any:
        return value
    if origin is Literal:
        fits = any(type(value) is type(word) and value == word for word in get_args(kind))
    elif origin is Annotated:
        return _read_kind(kind, value, name)
    elif kind is float:
        fits = type(value) in (int, float) and math.isfinite(value)
    else:
        fits = type(value) is kind
    if not fits:
        raise BadField(name)
    return value


def _read_kind(kind: Any, value: Any, name: str) -> Any:
    try:
        return setting_type(kind).read(value)
    except (ValueError, TypeError, OverflowError):
        raise BadField(name) from None


def _checked(value: Any, kind: type, name: str) -> Any:
    if type(value) is not kind:
        raise BadField(name)
    return value


def _join(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _merged(parts: Any) -> Tensors:
    return {name: tensor for tensors in parts for name, tensor in tensors.items()}
