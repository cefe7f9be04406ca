"""c_header: every integer type and its extremes come back through a C compiler; names are identifiers."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxq.errors import ModelError
from onnxq.evaluate.c_constants import Constant, c_header, identifiers
from onnxq.graph.numeric import Array

NAMES = st.lists(
    st.text(max_size=140) | st.sampled_from(["int", "Int", "a.b", "a/b", "A_B", "a_b_2"]), unique=True
)


@given(NAMES)
def test_identifiers_are_unlike_even_where_case_does_not_count(names: list[str]) -> None:
    made = identifiers(names)
    assert list(made) == names
    assert len({name.lower() for name in made.values()}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,140}", name) for name in made.values())
    assert not {"int", "for", "main"} & set(made.values())


def extremes() -> dict[str, Array]:
    arrays = {}
    for bits in (8, 16, 32, 64):
        for kind in ("int", "uint"):
            limits = np.iinfo(f"{kind}{bits}")
            arrays[f"{kind}{bits}"] = np.asarray([[limits.min, 0, limits.max]], f"{kind}{bits}")
    return arrays | {"flags": np.asarray([True, False]), "scalar": np.asarray(-7, np.int32)}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
def test_a_compiler_reads_the_numbers_back(tmp_path: Path) -> None:
    arrays = extremes()
    constants = [Constant(f"{name} */ ??/ \\", array, "Add 'n'\n#error") for name, array in arrays.items()]
    names = identifiers(constant.name for constant in constants)
    (tmp_path / "constants.h").write_text(c_header(constants, names, 100), encoding="utf-8")
    bodies = []
    for constant in constants:
        name, signed = names[constant.name], constant.array.dtype.kind == "i"
        kind = "%lld" if signed else "%llu"
        cast = "long long" if signed else "unsigned long long"
        size = f"sizeof {name} / sizeof {name}[0]"
        bodies.append(
            f'for (unsigned i = 0; i < {size}; ++i) printf("{kind} ", ({cast}){name}[i]);\nputs("");'
        )
    main = '#include <stdio.h>\n#include "constants.h"\n#include "constants.h"\nint main(void) {\n'
    (tmp_path / "main.c").write_text(main + "\n".join(bodies) + "\nreturn 0; }\n", encoding="utf-8")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["gcc", *flags, "main.c", "-o", "program"], cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True).stdout
    for line, array in zip(printed.splitlines(), arrays.values(), strict=True):
        assert [int(word) for word in line.split()] == [int(n) for n in array.reshape(-1).tolist()]


def test_what_is_large_or_empty_is_a_comment() -> None:
    constants = [
        Constant("w", np.zeros((3, 4), np.int8), "Conv"),
        Constant("e", np.zeros(0, np.int64), "Add"),
    ]
    text = c_header(constants, {"w": "w", "e": "e"}, 11)
    assert '/* left out, 12 elements: "w", 3x4, read by "Conv" */' in text
    assert '/* empty: "e", 0, read by "Add" */' in text
    assert "static" not in text


def test_floats_have_no_place() -> None:
    with pytest.raises(ModelError, match="'f' is float32"):
        c_header([Constant("f", np.zeros(1, np.float32), "Add")], {"f": "f"}, 9)
