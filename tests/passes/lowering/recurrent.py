"""Recurrent networks for tests: one node with all that the operator can have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxq.graph.numeric import Array

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}


@dataclass(frozen=True)
class Network:
    """One node ``op`` from x [T, batch, I], or [batch, T, I]; ``given`` are the optional inputs it has."""

    op: str
    steps: int = 3
    batch: int = 2
    inputs: int = 3
    hidden: int = 2
    attributes: Mapping[str, Any] = field(default_factory=dict)
    given: Sequence[str] = ()
    outputs: Sequence[str] = ("Y", "Y_h", "Y_c")
    scale: float = 1.0
    fixed_state: bool = False
    """Whether the initial states are constants."""

    @property
    def directions(self) -> int:
        return 2 if self.attributes.get("direction") == "bidirectional" else 1

    @property
    def layout(self) -> int:
        return int(str(self.attributes.get("layout", 0)))

    def shape(self, name: str, batch: int | str) -> list[int | str]:
        """Of an input or output."""
        d, h = self.directions, self.hidden
        shapes: dict[str, list[int | str]] = {
            "X": [self.steps, batch, self.inputs],
            "Y": [self.steps, d, batch, h],
            **{state: [d, batch, h] for state in ("initial_h", "initial_c", "Y_h", "Y_c")},
        }
        front = {"X": [1, 0, 2], "Y": [2, 0, 1, 3]}.get(name, [1, 0, 2])
        return [shapes[name][i] for i in front] if self.layout else shapes[name]

    def weights(self) -> dict[str, Array]:
        rng, d, rows = np.random.default_rng(0), self.directions, GATES[self.op] * self.hidden
        shapes: dict[str, tuple[int, ...]] = {"W": (d, rows, self.inputs), "R": (d, rows, self.hidden)}
        shapes |= {"B": (d, 2 * rows)} if "B" in self.given else {}
        shapes |= {"P": (d, 3 * self.hidden)} if "P" in self.given else {}
        made = {name: (self.scale * rng.normal(size=s)).astype(np.float32) for name, s in shapes.items()}
        lengths = {"sequence_lens": np.full(self.batch, self.steps, np.int32)}
        states = self._states(1) if self.fixed_state else {}
        return made | states | (lengths if "sequence_lens" in self.given else {})

    def feeds(self, seed: int = 0) -> dict[str, Array]:
        x = np.random.default_rng(seed).normal(size=[int(n) for n in self.shape("X", self.batch)])
        return {"X": x.astype(np.float32), **({} if self.fixed_state else self._states(seed))}

    def _states(self, seed: int) -> dict[str, Array]:
        rng, made = np.random.default_rng(seed + 100), {}
        for name in ("initial_h", "initial_c"):
            if name in self.given:
                shape = [int(n) for n in self.shape(name, self.batch)]
                made[name] = np.asarray(rng.normal(size=shape), np.float32)
        return made

    def model(self, batch: int | str = "N") -> onnx.ModelProto:
        names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
        known = {"X", "W", "R", *self.given}
        last = [i for i, name in enumerate(names) if name in known][-1]
        node = helper.make_node(
            self.op,
            [name if name in known else "" for name in names[: last + 1]],
            list(self.outputs),
            "cell",
            hidden_size=self.hidden,
            **self.attributes,
        )
        infos = {
            name: helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape(name, batch))
            for name in (*self.feeds(), *filter(None, self.outputs))
        }
        graph = helper.make_graph(
            [node],
            "g",
            [infos[name] for name in self.feeds()],
            [infos[name] for name in self.outputs if name],
            [numpy_helper.from_array(array, name) for name, array in self.weights().items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
