"""Every pass is found, is named as its file and class are, and says what it does and promises."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import onnxq.passes
from onnxq.errors import UsageError
from onnxq.pipeline import registry
from onnxq.pipeline.base import Contract, NodePass, Pass
from onnxq.pipeline.options import options

find_all = registry.all_passes  # the fixtures of this folder patch the attribute


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def test_file_class_and_name_agree(test_passes: Mapping[str, type[Pass]]) -> None:
    for name, cls in test_passes.items():
        file = cls.__module__.rsplit(".", 1)[-1]
        assert (file, cls.__name__) == (name.replace("-", "_"), _camel(name)), name


def test_every_pass_is_a_frozen_dataclass_with_docstring_contract_and_typed_options(
    test_passes: Mapping[str, type[Pass]],
) -> None:
    for name, cls in test_passes.items():
        assert is_dataclass(cls), name
        assert "__dataclass_fields__" in vars(cls), f"{name}: @dataclass(frozen=True) is missing on the class"
        assert cls.__doc__ is not None, name
        assert not cls.__doc__.startswith(f"{cls.__name__}("), f"{name}: has no docstring of its own"
        assert isinstance(cls.contract, Contract), name
        assert all(str(option) for option in options(cls).values()), name
        if issubclass(cls, NodePass):
            assert cls.root, name


def test_every_module_of_the_library_with_a_pass_in_it_is_found(
    test_passes: Mapping[str, type[Pass]],
) -> None:
    folder = Path(onnxq.passes.__path__[0])
    declared = {
        file.stem.replace("_", "-")
        for file in folder.rglob("*.py")
        if '    name = "' in file.read_text(encoding="utf-8")
    }
    assert declared <= set(test_passes)


def test_names_are_sorted_and_unknown_ones_get_the_nearest_match() -> None:
    assert list(find_all()) == sorted(find_all())
    with pytest.raises(UsageError, match=r"no pass 'test-nothin'; did you mean 'test-nothing'\?"):
        registry.find("test-nothin")


def _plugins(patch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint(f"p{i}", value, registry.ENTRY_POINT_GROUP) for i, value in enumerate(values)]
    patch.setattr(registry, "entry_points", lambda group: points)


PLUGIN = '''
from dataclasses import dataclass
from onnxq.pipeline.base import Contract, Pass

@dataclass(frozen=True)
class Mine(Pass):
    """Of a third party."""
    name = "third-party"
    contract = Contract.EXACT
    def apply(self, rw, context, /):
        pass
'''


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    (tmp_path / "plugin_one.py").write_text(PLUGIN)
    (tmp_path / "plugin_two.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return monkeypatch


@pytest.mark.parametrize("value", ["plugin_one:Mine", "plugin_one"])
def test_third_parties_add_passes_by_class_or_module(plugins: pytest.MonkeyPatch, value: str) -> None:
    _plugins(plugins, value)
    assert find_all.__wrapped__()["third-party"].__module__ == "plugin_one"


def test_one_name_twice_is_refused_naming_both(plugins: pytest.MonkeyPatch) -> None:
    _plugins(plugins, "plugin_one", "plugin_two:Mine")
    with pytest.raises(
        UsageError, match=r"two passes are named 'third-party': plugin_one\.Mine and plugin_two"
    ):
        find_all.__wrapped__()


@pytest.mark.parametrize("value", ["no_such_module", "plugin_one:PLUGIN", "plugin_one:dataclass", "pathlib"])
def test_entry_points_that_are_no_passes_are_refused(plugins: pytest.MonkeyPatch, value: str) -> None:
    _plugins(plugins, value)
    with pytest.raises(UsageError, match=f"entry point 'p0 = {value}'"):
        find_all.__wrapped__()
