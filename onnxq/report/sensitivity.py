"""What each layer and value costs, as tables, JSON and a picture."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from onnxq.evaluate.bench import Effect
from onnxq.evaluate.sensitivity import LayerEffect, Sensitivity
from onnxq.report.table import Table, decibel
from onnxq.words import plural

__all__ = ["as_dict", "picture", "tables"]

_ROW, _LABEL, _WIDTH = 18, 440, 1100
_CEILING = 80.0
"""dB that are drawn as a bar of no length: nothing is lost there."""
_LETTERS = 60
"""What fits in front of the bars."""


def tables(found: Sensitivity, top: int) -> Iterator[str | Table]:
    """The ``top`` most harmful layers and values, and what all together cost."""
    several = len(found.everything.outputs) > 1
    outputs = ", ".join(f"{name} {decibel(dB)} dB" for name, dB in found.everything.outputs.items())
    yield f"all quantized for {found.target}: {outputs}"
    yield f"{plural(found.measured, 'rounding')} on {plural(found.samples, 'sample')}, {found.seconds:.1f} s"
    worst = [">worst output"] if several else []
    yield ""
    layers = found.layers[:top]
    title = f"layers alone, SQNR in dB, the worst {len(layers)} of {len(found.layers)}"
    rows = [
        (x.node, x.op, _dB(x.weights), _dB(x.activations), _dB(x.both), *_where(x.both, several))
        for x in layers
    ]
    yield Table(title, ["layer", "op", ">weights", ">activations", ">both", *worst], rows)
    yield ""
    values = found.values[:top]
    title = f"values alone, SQNR in dB, the worst {len(values)} of {len(found.values)}"
    yield Table(
        title,
        ["value", "made by", "dtype", ">sqnr", *worst],
        [(x.value, x.op, x.format, _dB(x.effect), *_where(x.effect, several)) for x in values],
    )


def as_dict(found: Sensitivity) -> dict[str, object]:
    """All of it as plain data for JSON; dB that are not finite are texts."""
    return {
        "target": found.target,
        "samples": found.samples,
        "everything": _plain(found.everything),
        "layers": [
            {
                "node": x.node,
                "op": x.op,
                "weights": None if x.weights is None else _plain(x.weights),
                "activations": None if x.activations is None else _plain(x.activations),
                "both": _plain(x.both),
            }
            for x in found.layers
        ],
        "values": [
            {"value": x.value, "op": x.op, "dtype": x.format, "effect": _plain(x.effect)}
            for x in found.values
        ],
        "measured": found.measured,
        "seconds": round(found.seconds, 3),
    }


def picture(found: Sensitivity, top: int) -> str:
    """A self-contained SVG: one bar a layer, the longer the more noise; weights and activations apart."""
    layers = found.layers[:top]
    height = 50 + _ROW * len(layers)
    drawn = [effect for x in layers for effect in (x.weights, x.activations, x.both) if effect is not None]
    scale = (_WIDTH - _LABEL - 60) / max((*map(_lost, drawn), 1.0))
    body = [
        '<rect width="100%" height="100%" fill="#fff"/>',
        '<text x="10" y="20" font-size="14">what each layer alone costs: SQNR in dB, '
        f"all together {decibel(found.everything.worst)}</text>",
        f'<rect x="{_LABEL}" y="28" width="10" height="8" fill="#4477aa"/>',
        f'<text x="{_LABEL + 14}" y="36">weights</text>',
        f'<rect x="{_LABEL + 80}" y="28" width="10" height="8" fill="#cc6677"/>',
        f'<text x="{_LABEL + 94}" y="36">activations</text>',
        f'<text x="{_WIDTH - 150}" y="36" fill="#777">no bar: {_CEILING:.0f} dB</text>',
    ]
    for i, layer in enumerate(layers):
        body += _bars(layer, 44 + _ROW * i, scale)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
    return f'{head} font-family="sans-serif" font-size="11" fill="#222">{"".join(body)}</svg>\n'


def _bars(layer: LayerEffect, y: int, scale: float) -> Iterator[str]:
    room = max(_LETTERS - len(layer.op), 8)
    name = layer.node if len(layer.node) <= room else f"…{layer.node[1 - room :]}"
    end = _LABEL + scale * max(
        _lost(e) for e in (layer.weights, layer.activations, layer.both) if e is not None
    )
    label = f"{escape(name)} · {escape(layer.op)}<title>{escape(layer.node)}</title>"
    yield f'<text x="{_LABEL - 6}" y="{y + 11}" text-anchor="end">{label}</text>'
    for effect, colour, at in ((layer.weights, "#4477aa", y + 1), (layer.activations, "#cc6677", y + 8)):
        if effect is not None:
            size = f'width="{scale * _lost(effect):.1f}" height="6"'
            yield f'<rect x="{_LABEL}" y="{at}" {size} fill="{colour}"/>'
    yield f'<text x="{end + 6:.1f}" y="{y + 11}">{_dB(layer.both)}</text>'


def _lost(effect: Effect) -> float:
    """dB below the ceiling, as far as they are drawn."""
    return min(max(_CEILING - effect.worst, 0.0), 1.5 * _CEILING)


def _where(effect: Effect, several: bool) -> Sequence[str]:
    return [min(effect.outputs, key=lambda name: effect.outputs[name], default="-")] if several else []


def _dB(effect: Effect | None) -> str:
    return "-" if effect is None else decibel(effect.worst)


def _plain(effect: Effect) -> dict[str, float | str]:
    return {name: dB if math.isfinite(dB) else str(dB) for name, dB in effect.outputs.items()}
