"""How numbers and tables are written."""

import pytest

from onnxq.quant.plan import NodeDecision, Plan
from onnxq.report.plan import reasons
from onnxq.report.table import Table, clean, percent, size
from onnxq.words import listed, plural


def test_plain_tables_align_and_stay_on_their_lines() -> None:
    table = Table("two", ["name", ">count"], [("a", "10"), ("long\nname", "9")])
    assert table.text() == "two\nNAME        COUNT\na              10\nlong\\nname      9"
    assert Table("none", ["name"], []).text() == "none"


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100.00 %"), (0.99999, ">99.99 %"), (0.5, "50.00 %"), (0.0, "0.00 %")]
)
def test_only_all_is_a_hundred_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (127_000, "127 kB"), (5e9, "5 GB")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


def test_words() -> None:
    assert [plural(1, "node"), plural(2, "node")] == ["1 node", "2 nodes"]
    assert [listed("ab"), listed("abcdef")] == ["a, b", "a, b, c, d and 2 more"]
    assert clean("a\x1b[31m\x9b\n\tü") == "a\\x1b[31m\\x9b\n\tü"


def test_reasons_are_counted_over_all_bodies() -> None:
    scopes = ["main/If.then_branch", "main/If.else_branch"]
    nodes = [NodeDecision(s, "Relu", s, False, f"it is inside the body {s}: stays float") for s in scopes]
    assert list(reasons(Plan("t", tuple(nodes), ()))) == ["2 Relu: it is inside the body …: stays float"]
