"""Compile one model with TVM for the CPU and run it: ``run_tvm.py MODEL INPUTS.npz OUTPUTS.npz``."""

import sys

import numpy as np
import onnx
import tvm  # type: ignore[import-not-found]
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx  # type: ignore[import-not-found]

if __name__ == "__main__":
    model, inputs, outputs = sys.argv[1:]
    loaded = onnx.load(model)
    module = from_onnx(loaded, keep_params_in_input=False)
    module = relax.transform.LegalizeOps()(module)
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    names = [value.name for value in loaded.graph.input]
    feeds = np.load(inputs)
    found = []
    for i in range(len(feeds[names[0]])):
        made = machine["main"](*(tvm.runtime.tensor(feeds[name][i]) for name in names))
        arrays = [made] if hasattr(made, "numpy") else list(made)
        found.append([array.numpy() for array in arrays])
    np.savez(outputs, *(np.stack(samples) for samples in zip(*found, strict=True)))
