"""Run one model in ONNX Runtime: ``run_onnxruntime.py MODEL INPUTS.npz OUTPUTS.npz``."""

import sys

import numpy as np
import onnxruntime as ort

if __name__ == "__main__":
    model, inputs, outputs = sys.argv[1:]
    ort.set_default_logger_severity(4)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = np.load(inputs)
    count = len(feeds[feeds.files[0]])
    found = [session.run(None, {name: feeds[name][i] for name in feeds}) for i in range(count)]
    np.savez(outputs, *(np.stack(arrays) for arrays in zip(*found, strict=True)))
