"""Make the digit models and their data: `python models/train_digits.py --out models all`.

`qat` starts from the float CNN already in the output folder.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

try:
    from digits_data import Digits, load_split, save_split
    from digits_export import export, load_weights, top1
    from digits_fit import Recipe, fit, seed_everything
    from digits_nets import DigitsCnn, DigitsVit
    from digits_qat import freeze, prepare_qat
    from torch import nn
except ModuleNotFoundError as missing:
    raise SystemExit(f"training needs {missing.name}: pip install '.[train]'") from None

CNN_RECIPE = Recipe(epochs=80, rate=4e-3, weight_decay=0.05, warp=0.7)
VIT_RECIPE = Recipe(epochs=250, rate=1e-3, weight_decay=0.05, warp=0.7)
QAT_RECIPE = Recipe(epochs=10, rate=1e-3, weight_decay=0.0, warp=0.7)


def _train(name: str, model: nn.Module, digits: Digits, recipe: Recipe) -> None:
    """Train `model` on the training part only."""
    fit(name, model, digits.images[digits.train], digits.labels[digits.train], recipe)


def _export(model: nn.Module, digits: Digits, path: Path) -> None:
    """Export `model` and print what the file scores on the test part."""
    export(model, path)
    score = top1(path, digits.images[digits.test], digits.labels[digits.test])
    print(f"{path.name}: top-1 {score:.4f}, {path.stat().st_size} bytes")


def make_cnn(digits: Digits, out: Path) -> None:
    """Train and export the float CNN."""
    seed_everything(CNN_RECIPE.seed)
    cnn = DigitsCnn()
    _train("cnn", cnn, digits, CNN_RECIPE)
    _export(cnn, digits, out / "digits_cnn.onnx")


def make_vit(digits: Digits, out: Path) -> None:
    """Train and export the float vision transformer."""
    seed_everything(VIT_RECIPE.seed)
    vit = DigitsVit()
    _train("vit", vit, digits, VIT_RECIPE)
    _export(vit, digits, out / "digits_vit.onnx")


def make_qat(digits: Digits, out: Path) -> None:
    """Fine-tune the exported float CNN with fake quantizers and export the twin."""
    seed_everything(QAT_RECIPE.seed)
    cnn = DigitsCnn()
    load_weights(cnn, out / "digits_cnn.onnx")
    twin = prepare_qat(cnn)
    _train("qat", twin, digits, QAT_RECIPE)
    _export(freeze(twin), digits, out / "digits_cnn_qat.onnx")


def make_data(digits: Digits, out: Path) -> None:
    """Write the calibration and test arrays."""
    save_split(digits, out / "digits")


STEPS: dict[str, Callable[[Digits, Path], None]] = {
    "data": make_data,
    "cnn": make_cnn,
    "vit": make_vit,
    "qat": make_qat,
}


def main() -> None:
    """Run the chosen step, or all of them."""
    parser = argparse.ArgumentParser(description="Train the digit models and export them to ONNX.")
    parser.add_argument("what", nargs="?", default="all", choices=[*STEPS, "all"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="output folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    digits = load_split()
    for name, step in STEPS.items():
        if options.what in (name, "all"):
            step(digits, options.out)


if __name__ == "__main__":
    main()
