"""Run one model in OpenVINO on the CPU: ``run_openvino.py MODEL INPUTS.npz OUTPUTS.npz``."""

import sys

import numpy as np
import openvino as ov  # type: ignore[import-not-found]

if __name__ == "__main__":
    model, inputs, outputs = sys.argv[1:]
    core = ov.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(dict(np.load(inputs)))
    np.savez(outputs, **{output.any_name: found[output] for output in compiled.outputs})
