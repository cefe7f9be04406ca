"""Compile one model with TVM for the CPU and run it: ``run_tvm.py MODEL INPUTS.npz OUTPUTS.npz``."""

import sys

import numpy as np
import onnx
import tvm  # type: ignore[import-not-found]
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx  # type: ignore[import-not-found]

if __name__ == "__main__":
    model, inputs, outputs = sys.argv[1:]
    feeds = np.load(inputs)
    loaded = onnx.load(model)
    module = from_onnx(loaded, keep_params_in_input=False)
    module = relax.transform.LegalizeOps()(module)
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    found = machine["main"](*(tvm.runtime.tensor(feeds[value.name]) for value in loaded.graph.input))
    arrays = [found] if hasattr(found, "numpy") else list(found)
    np.savez(outputs, *(array.numpy() for array in arrays))
