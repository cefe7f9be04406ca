"""Run one model in onnx.reference: ``run_reference.py MODEL INPUTS.npz OUTPUTS.npz``."""

import sys

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

if __name__ == "__main__":
    model, inputs, outputs = sys.argv[1:]
    evaluator = ReferenceEvaluator(onnx.load(model))
    feeds = np.load(inputs)
    count = len(feeds[feeds.files[0]])
    found = [evaluator.run(None, {name: feeds[name][i] for name in feeds}) for i in range(count)]
    np.savez(outputs, *(np.stack(arrays) for arrays in zip(*found, strict=True)))
