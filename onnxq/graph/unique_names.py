"""Names for new nodes and values that nothing in a model has yet."""

import onnx_ir as ir

from onnxq.graph.scopes import all_nodes, named_values

__all__ = ["UniqueNames"]


class UniqueNames:
    """Gives out names; those of the model are read when the first one is asked for."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._taken: set[str] | None = None
        self._suffixes: dict[str, int] = {}

    def make(self, name: str) -> str:
        """``name``, or ``name_1``, ``name_2`` … if a node or value of any scope already has it."""
        if self._taken is None:
            self._taken = set(named_values(self._model)) | {
                node.name or "" for node in all_nodes(self._model)
            }
        candidate, i = name, self._suffixes.get(name, 0)
        while candidate in self._taken:
            i += 1
            candidate = f"{name}_{i}"
        self._suffixes[name] = i
        self._taken.add(candidate)
        return candidate
