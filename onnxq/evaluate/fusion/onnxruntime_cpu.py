"""What ONNX Runtime's CPU provider makes of a Q/DQ graph, predicted node by node.

Its rules, read in onnxruntime/core/optimizer/qdq_transformer (qdq_selectors.cc and
qdq_selector_action_transformer.cc) and held against the optimized models that onnxruntime 1.31.1 writes:

    Conv                 all inputs dequantized, one Q behind it, x and y of one dtype  => QLinearConv
    MatMul               two dequantized inputs; with a Q  => QLinearMatMul, without => MatMulIntegerToFloat
    Gemm, MatMul + Add   all inputs dequantized, Q or none                              => QGemm
    Add, Mul, Concat, AveragePool, GlobalAveragePool, LeakyRelu, Sigmoid, Softmax, Where  => QLinear…
    MaxPool, Reshape, Transpose …   the same scale and zero point on both sides         => on codes
    Relu, Clip in front of a Q      whose codes end there anyway                        => vanish
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from onnxq.evaluate.fusion.propagation import Signs, carry_pairs
from onnxq.evaluate.fusion.verdict import Left, Verdict
from onnxq.evaluate.fusion.view import Codes, View
from onnxq.graph.match import (
    constant,
    get_input,
    is_op,
    rank,
    scalar,
)
from onnxq.graph.opset import opset
from onnxq.quant.operators import LINEAR, gemm_add

__all__ = ["predict"]

_SIXTEEN = ("int16", "uint16")
_MOVES = ("Expand", "Flatten", "Gather", "GatherElements", "Reshape", "Slice", "Squeeze", "Tile", "Transpose")
_MOVES_8 = ("MaxPool", "ReduceMax", "ReduceMin", "Resize")
_UNARY = ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax")
_EXACT = 1e-6
"""How far a bias scale may lie from s_x·s_w, relatively: float32 products differ by less."""


def predict(model: ir.Model, *, int8_allowed: bool = False) -> dict[ir.Node, Verdict]:
    """A verdict for every node but Q, DQ and constants. ``int8_allowed``: as on ARM, codes may stay int8."""
    return _Prediction(model, int8_allowed).verdicts()


@dataclass(frozen=True)
class _Result:
    """What becomes of a node's output: its codes (None: it stays float) and the clamp that vanishes."""

    codes: Codes | None
    clamp: ir.Node | None


class _Prediction:
    def __init__(self, model: ir.Model, int8_allowed: bool) -> None:
        self.view = View(model)
        self.opset, self.int8_allowed = opset(model), int8_allowed
        carry_pairs(self.view, self.opset)
        self.signs = Signs(self.view, int8_allowed=int8_allowed)
        self.rules: Mapping[str, Callable[[ir.Node], str]] = {
            "Conv": self._conv,
            "MatMul": self._matmul,
            "Gemm": self._product,
            "Add": self._alike,
            "Mul": self._alike,
            "Concat": self._alike,
            "Where": self._where,
            "Split": self._split,
            "ArgMax": self._argmax,
            **dict.fromkeys(_UNARY, self._unary),
            **dict.fromkeys((*_MOVES, "Unsqueeze", *_MOVES_8), self._move),
        }

    def verdicts(self) -> dict[ir.Node, Verdict]:
        found: dict[ir.Node, Verdict] = {}
        for node in self.view.nodes:
            if is_op(node, "QuantizeLinear", "DequantizeLinear") or node in found:
                continue
            if (add := gemm_add(node)) is not None:
                found[node] = found[add] = self._verdict(node, partial(self._product, add=add))
            else:
                found[node] = self._verdict(node, self._rule(node))
        return found | dict(self._clamps(found))

    def _verdict(self, node: ir.Node, rule: Callable[[ir.Node], str]) -> Verdict:
        try:
            pattern = rule(node)
            return Verdict(True, pattern, kernel=self._kernel(node))
        except Left as left:
            return left.verdict

    def _kernel(self, node: ir.Node) -> str:
        if not is_op(node, *LINEAR):
            return ""
        return f"{self._input(node, 0).dtype}*{self._weight(node).dtype}"

    def _rule(self, node: ir.Node) -> Callable[[ir.Node], str]:
        if node.domain in ("", "ai.onnx") and node.op_type in self.rules:
            return self.rules[node.op_type]
        return self._none

    def _clamps(self, found: Mapping[ir.Node, Verdict]) -> Iterator[tuple[ir.Node, Verdict]]:
        """A Relu or Clip whose Q cuts at the same place vanishes, whatever is in front of it."""
        for node in found:
            if not is_op(node, "Relu", "Clip"):
                continue
            codes = self.view.written(node.outputs[0])
            if len(codes) == 1 and self.view.edges(node.outputs[0]) == 1 and _is_redundant(node, codes[0]):
                yield node, Verdict(True, "vanishes in the QuantizeLinear behind it")

    # --- inputs and outputs ---------------------------------------------------------------------

    def _input(self, node: ir.Node, index: int) -> Codes:
        value = get_input(node, index)
        codes = self.view.read(value)
        if codes is not None:
            return self.signs.of(codes)
        name = "" if value is None else value.name
        if constant(value) is not None:
            raise Left(f"its constant input '{name}' is float", f"put Q/DQ on '{name}'")
        raise Left(f"its input '{name}' is float", f"put Q/DQ on '{name}', or leave this node without Q/DQ")

    def _inputs(self, node: ir.Node) -> list[Codes]:
        return [self._input(node, i) for i, value in enumerate(node.inputs) if value is not None]

    def _result(self, node: ir.Node, *, may_be_float: bool = False) -> _Result:
        """The codes of the only output, behind a Relu or Clip that vanishes."""
        value = node.outputs[0]
        clamp = self.view.clamp_behind(value)
        shown = value if clamp is None else clamp.outputs[0]
        written = self.view.written(shown)
        if clamp is not None and (len(written) != 1 or not _is_redundant(clamp, written[0])):
            if not written:
                raise Left(
                    f"there is no QuantizeLinear behind its {clamp.op_type}", f"put Q/DQ on '{shown.name}'"
                )
            raise Left(
                f"the codes behind its {clamp.op_type} go beyond what that lets through",
                f"let the range of '{shown.name}' end where the {clamp.op_type} cuts, at its own scale",
            )
        if not written:
            if may_be_float:
                return _Result(None, None)
            raise Left("there is no QuantizeLinear behind it", f"put Q/DQ on '{shown.name}'")
        alone = self.view.edges(shown) == len(written) == 1
        if not alone or (value.is_graph_output() and not self.view.is_carried(value)):
            raise Left(
                f"its result '{shown.name}' is used as float besides its QuantizeLinear",
                "let all readers read the dequantized value",
            )
        return _Result(self.signs.of(written[0]), clamp)

    def _clamped(self, pattern: str, result: _Result) -> str:
        return pattern if result.clamp is None else f"{pattern} with its {result.clamp.op_type}"

    # --- operators ------------------------------------------------------------------------------

    def _none(self, node: ir.Node) -> str:
        raise Left(f"ONNX Runtime has no integer {node.op_type}")

    def _conv(self, node: ir.Node) -> str:
        x, w = self._input(node, 0), self._weight(node)
        result = self._result(node)
        _same_dtype(x, result.codes, self.int8_allowed)
        _no_sixteen(x, w)
        if x.dtype == "int8" and (not self.int8_allowed or w.dtype != "int8"):
            raise _left_signed(x)
        self._bias(node, x, w)
        return self._clamped("QLinearConv", result)

    def _weight(self, node: ir.Node) -> Codes:
        """A float weight behind a dequantized input is quantized by the runtime, per tensor."""
        weight = get_input(node, 1)
        if weight is not None and self.view.read(weight) is None and constant(weight) is not None:
            return Codes("int8", None, True, weight)
        return self._input(node, 1)

    def _bias(self, node: ir.Node, x: Codes, w: Codes) -> None:
        bias = get_input(node, 2)
        if bias is None:
            return
        codes = self.view.read(bias)
        if codes is None:
            if constant(bias) is None or not x.is_scalar:
                raise Left(f"its bias '{bias.name}' is float", "let fold-fake-quant make it int32")
            return  # quantized by the runtime at s_x·s_w
        if codes.dtype != "int32":
            raise Left(f"its bias is {codes.dtype}", "biases are int32 at scale s_x·s_w")
        if is_op(node, "Conv") and not _bias_scale_fits(codes, x, w):
            raise Left(
                "its bias is not at scale s_x·s_w",
                "give it that scale, or run fold-fake-quant on a float bias",
            )

    def _matmul(self, node: ir.Node) -> str:
        a, b = self._input(node, 0), self._input(node, 1)
        if a.dtype == "int8" and (not self.int8_allowed or b.dtype != "int8"):
            raise _left_signed(a)
        _no_sixteen(a, b)
        result = self._result(node, may_be_float=True)
        if result.codes is None:
            return "MatMulIntegerToFloat"
        _same_dtype(a, result.codes, self.int8_allowed)
        return self._clamped("QLinearMatMul", result)

    def _product(self, node: ir.Node, add: ir.Node | None = None) -> str:
        """QGemm; of a MatMul, with the Add that becomes its bias.

        A MatMul of more than two axes stands between two Reshapes then, with pairs of their own round it.
        """
        a, b = self._input(node, 0), self._weight(node)
        last = node if add is None else add
        between = add is not None and rank(node.inputs[0]) != 2
        if between:
            a = self.signs.alone(a)
        if a.dtype == "int8" and b.dtype != "int8":
            raise _left_signed(a)
        _no_sixteen(a, b)
        result = self._result(last, may_be_float=True)
        if result.codes is not None:
            _same_dtype(a, self.signs.alone(result.codes) if between else result.codes, self.int8_allowed)
        bias = get_input(node, 2) if add is None else _other(add, node.outputs[0])
        if bias is None:
            return self._clamped("QGemm", result)
        codes = self.view.read(bias)
        if codes is None and (constant(bias) is None or result.codes is None):
            raise Left(f"its bias '{bias.name}' is float", "let fold-fake-quant make it int32")
        if codes is not None and codes.dtype != "int32":
            raise Left(f"its bias is {codes.dtype}", "biases are int32 at scale s_x·s_w")
        if add is None and node.attributes.get_float("beta", 1.0) != 1.0:
            raise Left("its beta is not 1", "fold beta into the bias")
        return self._clamped("QGemm", result)

    def _unary(self, node: ir.Node) -> str:
        x, result = self._input(node, 0), self._result(node)
        _same_dtype(x, result.codes, self.int8_allowed)
        _no_sixteen(x)
        return self._clamped(f"QLinear{node.op_type}", result)

    def _alike(self, node: ir.Node) -> str:
        """Operands and result all of one dtype."""
        inputs, result = self._inputs(node), self._result(node)
        for codes in inputs:
            _same_dtype(codes, result.codes, self.int8_allowed)
        _no_sixteen(*inputs)
        return self._clamped(f"QLinear{node.op_type}", result)

    def _where(self, node: ir.Node) -> str:
        inputs, result = [self._input(node, 1), self._input(node, 2)], self._result(node)
        for codes in inputs:
            _same_dtype(codes, result.codes, self.int8_allowed)
        _no_sixteen(*inputs)
        return "QLinearWhere"

    def _argmax(self, node: ir.Node) -> str:
        codes = self._input(node, 0)
        _no_sixteen(codes)
        return f"ArgMax on {codes.dtype}"

    def _move(self, node: ir.Node) -> str:
        x = self._input(node, 0)
        if is_op(node, "MaxPool") and (self.opset < 12 or self.opset > 21):
            raise Left(f"ONNX Runtime fuses MaxPool of opset 12 to 21, not of {self.opset}")
        result = self._result(node).codes
        if is_op(node, *_MOVES_8):
            _no_sixteen(x)
        _same_meaning(x, result, self.int8_allowed)
        return f"{node.op_type} on {x.dtype}"

    def _split(self, node: ir.Node) -> str:
        x = self._input(node, 0)
        for output in node.outputs:
            written = self.view.written(output)
            if len(written) != 1 or self.view.edges(output) != 1 or output.is_graph_output():
                raise Left(
                    f"its result '{output.name}' is not read by one QuantizeLinear alone",
                    "put Q/DQ on each result",
                )
            _same_meaning(x, self.signs.of(written[0]), self.int8_allowed)
        return f"Split on {x.dtype}"


def _other(add: ir.Node, value: ir.Value) -> ir.Value | None:
    return add.inputs[1] if add.inputs[0] is value else add.inputs[0]


def _no_sixteen(*codes: Codes) -> None:
    if any(c.dtype in _SIXTEEN for c in codes):
        raise Left("ONNX Runtime has no 16-bit kernel for it", "use 8 bits here")


def _same_dtype(x: Codes, y: Codes | None, int8_allowed: bool) -> None:
    if y is None or x.dtype == y.dtype:
        return
    if not int8_allowed and {x.dtype, y.dtype} == {"int8", "uint8"}:
        raise _left_signed(x if x.dtype == "int8" else y)
    raise Left(f"it reads {x.dtype} and writes {y.dtype}", "use one dtype on both sides")


def _left_signed(x: Codes) -> Left:
    return Left(
        f"ONNX Runtime on x86 leaves '{x.pair.name}' int8, as several nodes read it; others become uint8",
        "quantize activations to uint8",
    )


def _same_meaning(x: Codes, y: Codes | None, int8_allowed: bool) -> None:
    if y is None:
        return
    _same_dtype(x, y, int8_allowed)
    if not x.same_as(y):
        raise Left("scale or zero point differ between its input and output", "give both one scale")


def _is_redundant(clamp: ir.Node, codes: Codes) -> bool:
    """Whether codes end where a Relu or Clip cuts."""
    if (
        codes.qparams is None
        or codes.qparams.axis is not None
        or codes.dtype not in ("int8", "uint8", *_SIXTEEN)
    ):
        return False
    q = codes.qparams
    zero_point, scale = int(q.zero_point), float(q.scale)
    if is_op(clamp, "Relu"):
        return zero_point == q.format.qmin
    bounds = [scalar(v) if (v := get_input(clamp, i)) is not None else None for i in (1, 2)]
    if any(get_input(clamp, i) is not None and bounds[i - 1] is None for i in (1, 2)):
        return False
    low, high = (-np.inf if bounds[0] is None else bounds[0]), (np.inf if bounds[1] is None else bounds[1])
    return bool(
        np.rint(low / scale) + zero_point <= q.format.qmin
        and np.rint(high / scale) + zero_point >= q.format.qmax
    )


def _bias_scale_fits(bias: Codes, x: Codes, w: Codes) -> bool:
    if bias.qparams is None or x.qparams is None or w.qparams is None:
        return w.qparams is None
    wanted = x.qparams.scale.astype(np.float64) * w.qparams.scale.astype(np.float64)
    found = bias.qparams.scale.astype(np.float64)
    return bool(np.all(np.abs(found - wanted) <= _EXACT * wanted))
