"""Compile one model with IREE for the CPU and run it: ``run_iree.py MODEL INPUTS.npz OUTPUTS.npz``."""

import subprocess
import sys
from pathlib import Path

import iree.compiler  # type: ignore[import-not-found]
import iree.runtime  # type: ignore[import-not-found]
import numpy as np
import onnx

if __name__ == "__main__":
    model, inputs, outputs = (Path(name) for name in sys.argv[1:])
    tool = Path(sys.executable).with_name("iree-import-onnx")
    text = outputs.with_suffix(".mlir")
    subprocess.run([tool, model, "-o", text], check=True)
    flags = ["--iree-llvmcpu-target-cpu=generic"]
    module = iree.compiler.compile_file(
        str(text), input_type="onnx", target_backends=["llvm-cpu"], extra_args=flags
    )
    context = iree.runtime.SystemContext(config=iree.runtime.Config("local-sync"))
    context.add_vm_module(iree.runtime.VmModule.copy_buffer(context.instance, module))
    program = context.modules.module
    (entry,) = (n for n in program.vm_module.function_names if not n.startswith("_") and "$" not in n)
    names = [value.name for value in onnx.load(model).graph.input]
    feeds = np.load(inputs)
    found = []
    for i in range(len(feeds[names[0]])):
        made = program[entry](*(feeds[name][i] for name in names))
        arrays = made if isinstance(made, tuple | list) else (made,)
        found.append([np.asarray(array.to_host()) for array in arrays])
    np.savez(outputs, *(np.stack(samples) for samples in zip(*found, strict=True)))
