"""Build the wheel and hold it to its content: every pass, every target, the type marker.

``onnxq/passes`` is a symbolic link to ``passes/``. A checkout without symbolic links would build a wheel
without the pass library and say nothing; this says it.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def missing(wheel: Path) -> list[str]:
    """Files of the source tree that the wheel lacks."""
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    wanted = [f"onnxq/passes/{file.relative_to(ROOT / 'passes')}" for file in ROOT.glob("passes/**/*.py")]
    for pattern in ("onnxq/*/*.py", "onnxq/*.py", "onnxq/targets/*.toml", "onnxq/py.typed"):
        wanted += [str(file.relative_to(ROOT)) for file in ROOT.glob(pattern)]
    return sorted(set(wanted) - packed)


def main() -> int:
    argparse.ArgumentParser(description="Build the wheel and look for files that it lacks.").parse_args()
    if not (ROOT / "onnxq" / "passes").is_symlink():
        print("onnxq/passes is no symbolic link: check out with git's core.symlinks=true")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, str(ROOT)]
        done = subprocess.run(build, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n")
            return done.returncode
        wheel = next(Path(folder).glob("*.whl"))
        lacking = missing(wheel)
        print(f"{wheel.name}: {wheel.stat().st_size // 1024} kB, {len(lacking)} files missing")
    for name in lacking:
        print(f"  missing: {name}")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
