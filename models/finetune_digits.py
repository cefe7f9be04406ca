"""Fine-tune a digit model that has fake-quant in it.

    onnxq run models/digits_cnn.onnx -p "prepare, insert-qdq{weight=int4 trainable=true}" \\
      --data models/digits/calibration.npy -o trainable.onnx
    python models/finetune_digits.py trainable.onnx -o trained.onnx
    onnxq run trained.onnx -p "prepare, fold-fake-quant{bias=float32}, lower" -o integer.onnx

Needs `pip install '.[train]'`.
"""

import argparse
from pathlib import Path

import onnx

try:
    from digits_data import load_split
    from digits_export import top1
    from digits_fit import Recipe, fit, seed_everything
    from digits_torch import TrainableOnnx
except ModuleNotFoundError as missing:
    raise SystemExit(f"training needs {missing.name}: pip install '.[train]'") from None

RECIPE = Recipe(epochs=40, rate=2e-3, weight_decay=0.0, warp=0.7)


def main() -> None:
    """Train on the training part, and print what the file scored on the test part before and after."""
    parser = argparse.ArgumentParser(description="Fine-tune a trainable ONNX file on the digits.")
    parser.add_argument("model", type=Path, help="made with insert-qdq{trainable=true}")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the trained file")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    options = parser.parse_args()
    if not options.model.is_file():
        parser.error(f"there is no file '{options.model}'")
    seed_everything(RECIPE.seed)
    digits = load_split()
    net = TrainableOnnx(onnx.load(options.model))
    recipe = Recipe(options.epochs, RECIPE.rate, RECIPE.weight_decay, RECIPE.warp)
    fit("finetune", net, digits.images[digits.train], digits.labels[digits.train], recipe)
    onnx.save(net.trained(), options.out)
    for path in (options.model, options.out):
        print(f"{path.name}: top-1 {top1(path, digits.images[digits.test], digits.labels[digits.test]):.4f}")


if __name__ == "__main__":
    main()
