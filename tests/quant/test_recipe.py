"""Recipes: which nodes and values a rule is for, what wins, and what every mistake is told."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onnxq.errors import UsageError
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.context import Context
from onnxq.quant.placement import plan
from onnxq.quant.plan import Plan, ValueDecision
from onnxq.quant.recipe import Recipe, Rule, Wish, load_recipe, parse_recipe
from onnxq.targets.target import load_target

Text = Callable[..., ir.Model]

NET = """g (float[1,4,8,8] x) => (float[1,4,4,4] y) <float[4,4,1,1] W, float[4,4,1,1] V> {
    a = Conv (x, W)
    r = Relu (a)
    m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r)
    y = Conv (m, V)
}"""


def _plan(onnx_text: Text, recipe: str, target: str = "generic-int8") -> Plan:
    model = InferShapes().run(onnx_text(NET), Context()).model
    return plan(model, load_target(target), parse_recipe(recipe))


def _value(found: Plan, name: str) -> ValueDecision:
    return next(decision for decision in found.values if decision.value == name)


def test_an_operator_stays_float_and_the_later_rule_wins(onnx_text: Text) -> None:
    found = _plan(onnx_text, '[[rule]]\nop = "Conv"\ndtype = "float"\n[[rule]]\nnode = "y"\ndtype = "int8"')
    quantized = {node.node: node.quantized for node in found.nodes}
    assert quantized == {"a": False, "r": True, "m": True, "y": True}
    assert "the recipe" in next(node.reason for node in found.nodes if node.node == "a")


def test_what_a_fused_operator_makes_takes_the_dtype_of_all_that_share_its_scale(onnx_text: Text) -> None:
    found = _plan(onnx_text, '[[rule]]\nnode = "a"\ndtype = "int16"\nsymmetric = true')
    for name in ("r", "m"):
        assert (str(_value(found, name).format), _value(found, name).symmetric) == ("int16", True)
    assert str(_value(found, "y").format) == "uint8"


def test_a_value_that_stays_float_takes_its_readers_along(onnx_text: Text) -> None:
    found = _plan(onnx_text, '[[rule]]\nvalue = "m"\ndtype = "float"')
    assert {node.node for node in found.nodes if not node.quantized} == {"m", "y"}


def test_ranges_and_weights(onnx_text: Text) -> None:
    found = _plan(
        onnx_text,
        '[[rule]]\nvalue = "x"\nrange = [-2, 3.5]\n'
        '[[rule]]\nnode = "a|y"\nper_channel = false\nweight = "int4"',
    )
    assert _value(found, "x").fixed == (-2.0, 3.5)
    assert "x" not in found.measured
    assert [(str(_value(found, w).format), _value(found, w).axis) for w in "WV"] == [("int4", None)] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]", "not valid TOML"),
        ("[[rul]]", r"unknown key 'rul'; did you mean 'rule'\? allowed: rule"),
        ("[rule]", r"rules are written as \[\[rule\]\] tables"),
        (
            '[[rule]]\nop = "Conv"\n\ndtyp = "float"',
            r"line 4, rule 1: unknown key 'dtyp'; did you mean 'dtype'",
        ),
        ('[[rule]]\nop = "Conv"\ndtype = "int33"', "line 3, rule 1: 'int33' is no integer format"),
        ('[[rule]]\nop = "Conv"', "says nothing; give one of dtype, weight"),
        ('[[rule]]\ndtype = "float"', "give op, node or both, or value alone; found none"),
        ('[[rule]]\nop = "Conv"\nvalue = "x"\ndtype = "int8"', "or value alone; found op, value"),
        ('[[rule]]\nvalue = "x"\nper_channel = true', "'per_channel' is of a node's weights"),
        ('[[rule]]\nnode = "("\ndtype = "int8"', "is no regular expression"),
        ('[[rule]]\nvalue = "x"\nrange = [1, 0]', r"range must have low < high, both finite, found \[1, 0\]"),
        ('[[rule]]\nvalue = "x"\nrange = [0, inf]', "both finite"),
        ('[[rule]]\nvalue = "x"\nsymmetric = 1', "'symmetric' must be true or false, found 1"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_recipe(text)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            '[[rule]]\nop = "Cnov"\ndtype = "float"',
            r"rule 1 \(op = 'Cnov'\) is for nothing in the model; near: Conv",
        ),
        ('[[rule]]\nvalue = "WW"\ndtype = "float"', "is for nothing in the model; near: W"),
        ('[[rule]]\nnode = "zz.*"\ndtype = "float"', "is for nothing in the model; near: a, r, m"),
    ],
)
def test_a_rule_for_nothing_is_an_error(recipe: str, message: str, onnx_text: Text) -> None:
    with pytest.raises(UsageError, match=message):
        _plan(onnx_text, recipe)


def test_a_dtype_that_the_target_lacks_is_refused(onnx_text: Text) -> None:
    with pytest.raises(UsageError, match="target openvino takes uint8, int8 or float, not int16"):
        _plan(onnx_text, '[[rule]]\nop = "Conv"\ndtype = "int16"', "openvino")


def test_a_path_is_read_and_a_missing_one_named(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('[[rule]]\nop = "Conv"\ndtype = "float"')
    assert load_recipe(str(file)).rules[0].op == "Conv"
    with pytest.raises(UsageError, match="there is no recipe"):
        load_recipe(str(tmp_path / "none.toml"))


_names = st.text(st.characters(max_codepoint=0x7FF), min_size=1).map(
    lambda text: "".join("\\" + c if not c.isalnum() else c for c in text)
)
_wishes = st.builds(
    Wish,
    dtype=st.sampled_from(["float", "int8", "uint16"]),
    symmetric=st.none() | st.booleans(),
    range=st.none() | st.tuples(st.floats(-100, -1), st.floats(1, 100)),
)


@given(st.lists(st.tuples(_wishes, _names, st.booleans()), max_size=4))
@example([(Wish(dtype="float"), '\x7f\x00\n\r\t\\"\u2028', True)])
def test_text_and_rules_are_the_same(entries: list[tuple[Wish, str, bool]]) -> None:
    rules = [
        Rule(wish, value=name) if of_value else Rule(wish, op="Conv", node=name)
        for wish, name, of_value in entries
    ]
    text = Recipe(rules).toml()
    read = tomllib.loads(text).get("rule", [])
    assert [rule.get("value", rule.get("node")) for rule in read] == [name for _, name, _ in entries]
    back = parse_recipe(text)
    assert [(r.wish, r.op, r.node, r.value) for r in back.rules] == [
        (r.wish, r.op, r.node, r.value) for r in rules
    ]
