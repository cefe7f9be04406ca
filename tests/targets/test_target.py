"""Target files: what ships is sound, what is wrong is named with what is allowed."""

import re
from pathlib import Path

import pytest

from onnxq.errors import TargetError
from onnxq.targets.target import load_target, parse_target, target_names

GOOD = (Path(__file__).parents[2] / "onnxq" / "targets" / "generic-int8.toml").read_text()


@pytest.mark.parametrize("name", target_names())
def test_what_ships_is_named_like_its_file_and_puts_no_operator_in_two_kinds(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert not target.compute & target.move
    assert target.fuse_activation <= target.compute
    assert target.per_channel <= target.compute


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ('name = "generic-int8"', 'name = "generic-int8', "not valid TOML"),
        ("opset = 19", 'opset = "19"', "'opset' must be a whole number, found '19'"),
        ("opset = 19", "opset = true", "'opset' must be a whole number, found True"),
        (
            "opset = 19",
            "opsett = 19",
            r"line 4: unknown key 'opsett'; did you mean 'opset'\? allowed: name",
        ),
        ("[activation]", "[activations]", r"unknown table \[activations\]"),
        ("symmetric = false", "symetric = false", r"\[activation\]: unknown key 'symetric'"),
        ('dtype = "uint8"', 'dtype = "float8"', "'float8' is no integer format"),
        ('form = "qdq"', 'form = "tflite"', "form is 'tflite', expected qdq or integer"),
        ("Softmax = [0.0, 1.0]", "Softmax = 1", r"Softmax must be \[low, high\] with low < high, found 1"),
        ('dtype = "int8"', 'dtype = "int16"', r"line 14: weights of int16 are not supported"),
        ('dtype = "uint8"', 'dtype = "uint16"', r"line 4: uint16 needs opset 21, the target has 19"),
        (
            "symmetric",
            "recurrent_bits = 12\nsymmetric",
            "recurrent_bits is 12, but no activation has as many",
        ),
        ('dtype = "uint8"', 'dtype = "uint9"', r"activations of uint9 are not supported; 8 or 16 bits"),
        ("opset = 19", "opset = 99", "opset is 99, expected 13 to"),
        ("ir_version = 9", "ir_version = 99", "ir_version is 99, expected 7 to"),
        ('"Resize"', '"Rezise"', "'compute' names Rezise, which ONNX does not have; did you mean 'Resize'"),
        ('"MaxPool", "Glob', '"Conv", "Glob', "Conv is in both 'compute' and 'move'"),
        ("float_tail = true", "float_tail = 1", r"\[layout\]: 'float_tail' must be true or false, found 1"),
        (
            'opset = "verified: RKNN',
            'opset = "RKNN',
            "line 43, table .facts.: 'opset' must begin with 'verified: '",
        ),
    ],
)
def test_mistakes_are_named(was: str, becomes: str, message: str) -> None:
    assert was in GOOD
    with pytest.raises(TargetError, match=f"target mine.toml.*{message}"):
        parse_target(GOOD.replace(was, becomes), "mine.toml")


def test_unknown_names_get_the_nearest_one() -> None:
    with pytest.raises(TargetError, match="did you mean 'integer'"):
        load_target("intger")


def test_a_users_own_file_is_given_by_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace('name = "generic-int8"', 'name = "mine"'))
    assert load_target(str(file)).name == "mine"
    with pytest.raises(TargetError, match=re.escape("does not exist")):
        load_target(str(tmp_path / "other.toml"))
