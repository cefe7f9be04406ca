"""Run one model in OpenVINO on the CPU: ``run_openvino.py MODEL INPUTS.npz OUTPUTS.npz``.

Prints how many of the convolutions and products OpenVINO computes on 8-bit integers, as ``integer=A/B``: that
is what its execution graph says of the kernels that it chose.
"""

import sys

import numpy as np
import openvino as ov  # type: ignore[import-not-found]

HEAVY = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")


def on_integers(compiled: ov.CompiledModel) -> str:
    """``A/B``: of B convolutions and products, A run with 8-bit inputs."""
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    heavy = [info for info in infos if info["layerType"].astype(str) in HEAVY]
    kernels = [info["runtimePrecision"].astype(str) for info in heavy]
    return f"{sum(kernel in ('i8', 'u8') for kernel in kernels)}/{len(kernels)}"


if __name__ == "__main__":
    model, inputs, outputs = sys.argv[1:]
    core = ov.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    feeds = np.load(inputs)
    found = [compiled({name: feeds[name][i] for name in feeds}) for i in range(len(feeds[feeds.files[0]]))]
    np.savez(outputs, *(np.stack([sample[output] for sample in found]) for output in compiled.outputs))
    print(f"integer={on_integers(compiled)}")
