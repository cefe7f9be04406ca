"""Write operators that a target knows only in parts as these parts."""

from dataclasses import dataclass

from onnxq.graph.match import is_op
from onnxq.graph.opset import opset
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.passes.lowering._expansions import compact_recipe
from onnxq.passes.lowering._recurrent import RECURRENT
from onnxq.passes.lowering.unroll_recurrent import UnrollRecurrent
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["ExpandForTarget"]


@dataclass(frozen=True)
class ExpandForTarget(Pass):
    """Write the operators that the target lists under ``split`` as older ones, before Q/DQ is placed.

           Swish(x)                        =>  x · Sigmoid(alpha · x)
           Einsum<"bqhd,bkhd->bhqk">(a, b) =>  MatMul(Transpose(a), Transpose(b))
           GroupNormalization(x, g, b)     =>  InstanceNormalization(x as [N, groups, …]) · g + b
           ReduceSumSquare(x), ReduceL1(x) =>  ReduceSum(x · x), ReduceSum(Abs(x))
           LSTM, GRU, RNN                  =>  their steps, as unroll-recurrent writes them

    A runtime that has integer kernels for Sigmoid and Mul but none for Swish computes the parts on integers;
    the other operators that are too new for it are expanded at the end by expand-new-operators. A target
    without such a list leaves the model alone.
    """

    name = "expand-for-target"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        target = context.target
        for node in all_nodes(rw.model):
            if not is_op(node, *target.split):
                continue
            if is_op(node, *RECURRENT):
                UnrollRecurrent().rewrite(node, rw)
                continue
            recipe = compact_recipe(node, min(opset(rw.model), target.opset))
            if recipe is None:
                rw.skip(node, f"there is no short form of {node.op_type} for this dtype")
            else:
                rw.replace(node, *recipe(rw))
