"""Compile one model with IREE for the CPU and run it: ``run_iree.py MODEL INPUTS.npz OUTPUTS.npz``."""

import subprocess
import sys
from pathlib import Path

import iree.compiler  # type: ignore[import-not-found]
import iree.runtime  # type: ignore[import-not-found]
import numpy as np

if __name__ == "__main__":
    model, inputs, outputs = (Path(name) for name in sys.argv[1:])
    tool = Path(sys.executable).with_name("iree-import-onnx")
    text = outputs.with_suffix(".mlir")
    subprocess.run([tool, model, "--opset-version", "17", "-o", text], check=True)
    flags = ["--iree-llvmcpu-target-cpu=generic"]
    module = iree.compiler.compile_file(
        str(text), input_type="onnx", target_backends=["llvm-cpu"], extra_args=flags
    )
    config = iree.runtime.Config("local-task")
    context = iree.runtime.SystemContext(config=config)
    context.add_vm_module(iree.runtime.VmModule.copy_buffer(context.instance, module))
    program = context.modules.module
    (entry,) = (n for n in program.vm_module.function_names if not n.startswith("_") and "$" not in n)
    found = program[entry](*np.load(inputs).values())
    arrays = found if isinstance(found, tuple | list) else (found,)
    np.savez(outputs, *(np.asarray(array.to_host()) for array in arrays))
