"""Mixed precision: the search exempts the planted value and nothing else; the recipe makes it again."""

import itertools

import onnx_ir as ir
import pytest

from onnxq import model_io
from onnxq.errors import UsageError
from onnxq.evaluate.bench import Bench
from onnxq.passes.quantization.auto_precision import AutoPrecision
from onnxq.passes.quantization.insert_qdq import InsertQdq
from onnxq.pipeline.spec import Step, parse
from onnxq.quant.placement import plan as place
from onnxq.quant.recipe import Recipe, parse_recipe
from onnxq.search.budget import Budget, Precision
from onnxq.search.exemptions import Kind, exemptions, recipe_of, small_weights
from onnxq.search.precision import choose_precision
from onnxq.targets.target import load_target

from .planted import Text, context, planted

MINMAX = InsertQdq(method="minmax")


@pytest.fixture
def model(onnx_text: Text) -> ir.Model:
    return planted(onnx_text)


def search(model: ir.Model, budget: Budget, target: str = "generic-int8") -> Precision:
    return choose_precision(model, context(target), MINMAX, budget)


def test_the_planted_value_alone_gets_16_bits(model: ir.Model) -> None:
    found = search(model, Budget(sqnr=28))
    assert [(move.kind, move.where) for move in found.chosen] == [(Kind.WIDE, ("ruin",))]
    assert found.before.worst < 10 < 28 <= found.after.worst
    assert found.reached
    assert found.coverage == pytest.approx(5 / 7), "the two nodes that touch it"


def test_without_16_bits_it_becomes_float(model: ir.Model) -> None:
    found = choose_precision(model, context(), MINMAX, Budget(sqnr=28), prefer=Kind.FLOAT)
    assert found.reached
    assert ("ruin",) in {move.where for move in found.chosen}
    assert {move.kind for move in found.chosen} == {Kind.FLOAT}


def test_no_fewer_exemptions_reach_the_goal(model: ir.Model) -> None:
    """Brute force: no set of one fewer does, among all that there are."""
    found = search(model, Budget(sqnr=36))
    assert found.reached
    where = context()
    start = MINMAX.plan(model, where)
    moves = exemptions(start, where.target)
    sets = list(itertools.combinations(moves, len(found.chosen) - 1))
    plans = [place(model, where.target, recipe_of(chosen, Recipe())) for chosen in sets]
    bench = Bench.of(model, where, MINMAX, [start, *plans])
    effects = bench.measure([bench.setting(plan) for plan in plans])
    assert max(effect.worst for effect in effects) < 36


def test_coverage_is_kept_and_used(model: ir.Model) -> None:
    none, some = search(model, Budget(coverage=1.0)), search(model, Budget(coverage=0.7))
    assert none.chosen == ()
    assert some.coverage >= 0.7
    assert some.after.worst > none.after.worst + 15


def test_four_bits_go_where_they_harm_least(model: ir.Model) -> None:
    found = search(model, Budget(size=0.24))
    assert found.reached
    assert found.size <= 0.24
    assert {move.kind for move in found.chosen} == {Kind.SMALL}
    where = context()
    start = MINMAX.plan(model, where)
    moves = small_weights(start)
    assert {move.where[0] for move in moves} == {"a", "b", "y"}
    plans = [place(model, where.target, recipe_of([move], Recipe())) for move in moves]
    bench = Bench.of(model, where, MINMAX, [start, *plans])
    effects = bench.measure([bench.setting(plan) for plan in plans])
    least = max(zip(effects, moves, strict=True), key=lambda pair: pair[0].worst)[1]
    assert found.chosen[0] == least or len(found.chosen) > 1


def test_decisions_may_change_as_little_as_asked(model: ir.Model) -> None:
    found = search(model, Budget(metric_drop=0.05))
    assert found.reached
    assert found.before.decisions < 0.95 <= found.after.decisions


def test_a_target_restricts_the_choices(model: ir.Model) -> None:
    for name, kinds in (("integer", {Kind.WIDE}), ("tensorrt", {Kind.FLOAT})):
        target = load_target(name)
        assert {move.kind for move in exemptions(place(model, target), target)} == kinds
    target = load_target("tensorrt")
    with pytest.raises(UsageError, match="takes activations of int8: nothing can be exempted to 16 bits"):
        exemptions(place(model, target), target, Kind.WIDE)


@pytest.mark.parametrize("wrong", ["{sqnr=30 size=0.2}", "{coverage=1.5}"])
def test_one_budget_is_given_and_makes_sense(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"give one of sqnr|is a share"):
        parse(f"auto-precision{wrong}")


def test_the_pass_and_its_recipe_make_the_same_bytes(model: ir.Model) -> None:
    pass_ = AutoPrecision(sqnr=28, method="minmax")
    assert parse(str(Step(pass_))).passes().__next__() == pass_
    searched = pass_.run(model.clone(), context()).model
    recipe = searched.metadata_props.pop("onnxq.recipe")
    assert len(parse_recipe(recipe).rules) == 1
    replayed = InsertQdq(method="minmax", recipe=recipe).run(model.clone(), context()).model
    assert _bytes(replayed) == _bytes(searched)


def test_what_cannot_be_reached_is_said(model: ir.Model) -> None:
    outcome = AutoPrecision(sqnr=500, method="minmax").run(model, context())
    assert outcome.skips[-1].reason.startswith("the budget is not reached")


def _bytes(model: ir.Model) -> bytes:
    return model_io.to_proto(model).SerializeToString(deterministic=True)
