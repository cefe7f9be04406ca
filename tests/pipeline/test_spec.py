"""Pipelines as text: what is printed is read back the same, and errors point at the place."""

import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxq.errors import UsageError
from onnxq.pipeline import presets, registry
from onnxq.pipeline.base import Pass
from onnxq.pipeline.options import options
from onnxq.pipeline.presets import Preset
from onnxq.pipeline.spec import Pipeline, Repeat, Step, parse


def test_every_registered_pass_round_trips_with_its_defaults(test_passes: Mapping[str, type[Pass]]) -> None:
    for name, cls in test_passes.items():
        if not any(option.required for option in options(cls).values()):
            assert str(parse(name)) == name


def _passes() -> st.SearchStrategy[Pass]:
    cls = registry.find("test-nothing")
    kinds = typing.get_type_hints(cls)
    # hypothesis builds values from the annotations; NaN has no text, as it equals nothing
    made = {f.name: st.from_type(kinds[f.name]).filter(lambda v: v == v) for f in fields(cls)}
    return st.builds(cls, **made)


@st.composite
def _pipelines(draw: st.DrawFn) -> Pipeline:
    step = st.builds(Step, _passes())
    items = st.recursive(
        step,
        lambda inner: st.builds(
            Repeat, st.lists(inner, min_size=1, max_size=3).map(tuple), st.integers(1, 99_999_999)
        ),
        max_leaves=4,
    )
    return Pipeline(tuple(draw(st.lists(items, min_size=1, max_size=3))))


@given(st.data())
@settings(max_examples=100)
def test_text_to_passes_to_text_is_the_identity(data: st.DataObject) -> None:
    pipeline = data.draw(_pipelines())
    assert parse(str(pipeline)) == pipeline
    assert str(parse(str(pipeline))) == str(pipeline)


@pytest.mark.parametrize(
    "text",
    [
        "test-nothing",
        "test-nothing, repeat(test-nothing, test-bypass-identity){max=3}",
        "test-nothing{flag=true count=-4 ratio=1e-05 word='a, b'}",
        "test-nothing{method=mse bits=4 ops=Gemm|Add alpha=0.5}",
        "test-nothing{word='it\\'s \\\\ # no comment' ops=() limit=7 label='none'}",
        "test-nothing{label=none-of-them either='1'}",
        "test-required{size=2}",
    ],
)
def test_canonical_texts_stay_as_they_are(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("loose", "canonical"),
    [
        (" test-nothing ,\n # a comment, with a comma\n test-nothing # more", "test-nothing, test-nothing"),
        ("test-nothing { flag = true, bits=4 , }", "test-nothing{flag=true bits=4}"),
        ("test-nothing{count=3 ops='Conv' | MatMul}", "test-nothing"),
        ("repeat ( test-nothing ) { max = 10 }", "repeat(test-nothing)"),
        ("test-nothing{}", "test-nothing"),
    ],
)
def test_blanks_comments_and_defaults_are_free(loose: str, canonical: str) -> None:
    assert str(parse(loose)) == canonical


ERRORS = [
    ("test-nothing, test-nothin", "no pass 'test-nothin'; did you mean 'test-nothing'?", 14),
    ("zzz", "no pass 'zzz'; `onnxq passes` lists all", 0),
    ("", "expected the name of a pass", 0),
    ("test-nothing,", "expected the name of a pass", 13),
    ("test-nothing test-nothing", "expected ',' and another pass, or the end", 13),
    ("repeat(test-nothing", "expected ',' and another pass, or ')'", 19),
    ("repeat test-nothing", "expected '(' after 'repeat'", 7),
    ("repeat(test-nothing){max=0}", "option 'max' takes a whole number, 1 or more", 25),
    ("repeat(test-nothing){min=1}", "'repeat' has no option 'min'; it takes max=N", 21),
    ("test-nothing{flags=true}", "'test-nothing' has no option 'flags'; did you mean 'flag'?", 13),
    ("test-nothing{flag=1}", "option 'flag' takes true|false, not 1", 18),
    ("test-nothing{count=1.5}", "option 'count' takes a whole number, not 1.5", 19),
    ("test-nothing{ratio=nan}", "option 'ratio' takes a number, not nan", 19),
    ("test-nothing{ratio=1|2}", "option 'ratio' takes a number, not 1|2", 19),
    ("test-nothing{method=best}", "option 'method' takes min-max, mse, not best", 20),
    ("test-nothing{bits=5}", "option 'bits' takes 4, 8, not 5", 18),
    ("test-nothing{alpha=none}", "option 'alpha' takes auto, a number, not none", 19),
    ("test-nothing{sizes=1|x}", "option 'sizes' takes none, a list x|y|… of (a whole number), not 1|x", 19),
    ("test-nothing{flag=true flag=true}", "option 'flag' is given twice", 23),
    ("test-nothing{flag}", "expected '=' after the option 'flag'", 17),
    ("test-nothing{flag=}", "expected a value", 18),
    ("test-nothing{word='abc}", "expected a closing quote (')", 18),
    ("test-nothing{flag=true", "expected an option, or '}'", 22),
    ("test-required", "'test-required' needs the option size: a whole number (required)", 0),
    ("test-required{size=-1}", "size must not be negative", 0),
    ("@nowhere.txt", "cannot read the pipeline file 'nowhere.txt'", 0),
]


@pytest.mark.parametrize(("text", "complaint", "column"), ERRORS)
def test_errors_say_what_and_where(text: str, complaint: str, column: int) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    first, line, pointer, *_ = str(caught.value).split("\n")
    assert first.startswith(complaint)
    assert line == f"    {text}"
    assert pointer.index("^") - 4 == column


def test_an_unknown_option_lists_those_that_exist() -> None:
    with pytest.raises(UsageError, match=r"\n    bits: 4, 8 \(default 8\)\n"):
        parse("test-nothing{bitz=4}")


def test_long_lines_are_cut_around_the_place() -> None:
    with pytest.raises(UsageError) as caught:
        parse("test-nothing, " * 100 + "oops, " + "test-nothing, " * 100)
    _, line, pointer = str(caught.value).split("\n")
    assert len(line) < 130
    assert line[pointer.index("^") :].startswith("oops")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(UsageError, match="more than 32 levels"):
        parse("repeat(" * 5000)


def test_files_hold_pipelines_and_name_others_relative_to_themselves(tmp_path: Path) -> None:
    (tmp_path / "sub folder").mkdir()
    (tmp_path / "main.txt").write_text("# first\ntest-nothing,\n@'sub folder/part.txt'\n")
    (tmp_path / "sub folder/part.txt").write_text("repeat(@leaf.txt)")
    (tmp_path / "sub folder/leaf.txt").write_text("test-bypass-identity")
    assert str(parse(f"@'{tmp_path}/main.txt'")) == "test-nothing, repeat(test-bypass-identity)"


def test_errors_in_files_name_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("test-nothing,\n  oops")
    with pytest.raises(UsageError, match=rf"no pass 'oops'(.|\n)*in file '{file}', line 2"):
        parse(f"@{file}")


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("test-nothing, @b.txt")
    (tmp_path / "b.txt").write_text(f"@../{tmp_path.name}/a.txt")
    with pytest.raises(UsageError, match=r"file '.*a\.txt' includes itself"):
        parse(f"@{tmp_path}/a.txt")


def test_files_that_are_no_text_or_too_large_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"#" * (2 << 20))
    for name, reason in [("binary", "cannot read"), ("large", "is larger than")]:
        with pytest.raises(UsageError, match=reason):
            parse(f"@{tmp_path}/{name}")


def test_presets_expand_wherever_a_pass_may_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"inner": "test-nothing{bits=4}", "outer": "inner, test-nothing", "loop": "test-nothing, loop"}
    monkeypatch.setattr(presets, "PRESETS", {name: Preset(text, "") for name, text in table.items()})
    assert str(parse("repeat(outer)")) == "repeat(test-nothing{bits=4}, test-nothing)"
    with pytest.raises(UsageError, match="preset 'loop' includes itself"):
        parse("loop")
    with pytest.raises(UsageError, match="the preset 'inner' takes no options"):
        parse("inner{bits=4}")


def test_every_preset_parses_and_shadows_no_pass(test_passes: Mapping[str, type[Pass]]) -> None:
    for name, preset in presets.PRESETS.items():
        assert parse(name).steps
        assert preset.description
        assert name not in test_passes
        assert name != "repeat"
