"""All passes by name: those of ``onnxq.passes`` and those that other packages bring along.

A third party declares an entry point of the group ``onnxq.passes`` that names a pass class, or a module
with pass classes in it:

    [project.entry-points."onnxq.passes"]
    my-pass = "my_package.my_pass:MyPass"

Discovery imports the modules once, when a pass is first asked for.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType, ModuleType

from onnxq.errors import UsageError
from onnxq.pipeline.base import Pass
from onnxq.suggest import did_you_mean

__all__ = ["ENTRY_POINT_GROUP", "all_passes", "find"]

ENTRY_POINT_GROUP = "onnxq.passes"


@cache
def all_passes() -> Mapping[str, type[Pass]]:
    """Every pass by its name, sorted.

    Raises:
        UsageError: two passes have one name, or an entry point names something that is no pass.
    """
    found: dict[str, type[Pass]] = {}
    for cls in (*_own_passes(), *_third_party_passes()):
        other = found.setdefault(cls.name, cls)
        if other is not cls:
            raise UsageError(
                f"two passes are named '{cls.name}': {other.__module__}.{other.__qualname__} and "
                f"{cls.__module__}.{cls.__qualname__}; rename one, or uninstall the package that brings it"
            )
    return MappingProxyType(dict(sorted(found.items())))


def find(name: str) -> type[Pass]:
    """The pass class of that name.

    Raises:
        UsageError: there is none; names the nearest match.
    """
    passes = all_passes()
    if name not in passes:
        raise UsageError(f"no pass '{name}'{did_you_mean(name, passes)}")
    return passes[name]


def _own_passes() -> Iterator[type[Pass]]:
    library = importlib.import_module("onnxq.passes")
    for info in pkgutil.walk_packages(library.__path__, f"{library.__name__}."):
        yield from _passes_in(importlib.import_module(info.name))


def _third_party_passes() -> Iterator[type[Pass]]:
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: (p.name, p.value)):
        yield from _passes_of(point)


def _passes_of(point: EntryPoint) -> list[type[Pass]]:
    where = f"entry point '{point.name} = {point.value}' of the group '{ENTRY_POINT_GROUP}'"
    try:
        thing = point.load()
    except Exception as error:
        raise UsageError(f"{where} cannot be loaded: {error}; repair or uninstall its package") from error
    classes = _passes_in(thing) if isinstance(thing, ModuleType) else [thing] if _is_pass(thing) else []
    if not classes:
        raise UsageError(f"{where} must name a pass class or a module with pass classes in it")
    return classes


def _passes_in(module: ModuleType) -> list[type[Pass]]:
    return [v for v in vars(module).values() if _is_pass(v) and v.__module__ == module.__name__]


def _is_pass(thing: object) -> bool:
    return (
        isinstance(thing, type)
        and issubclass(thing, Pass)
        and not inspect.isabstract(thing)
        and isinstance(getattr(thing, "name", None), str)
    )
