"""Run one model in ONNX Runtime: ``run_onnxruntime.py MODEL INPUTS.npz OUTPUTS.npz``."""

import sys

import numpy as np
import onnxruntime as ort

if __name__ == "__main__":
    model, inputs, outputs = sys.argv[1:]
    ort.set_default_logger_severity(4)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    arrays = session.run(names, dict(np.load(inputs)))
    np.savez(outputs, **dict(zip(names, arrays, strict=True)))
