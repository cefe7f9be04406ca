"""Move a scale per channel along the edges of a graph: decide (trace, measure, solve), then do.

    moves = decide(model, context, …)      which scale each value gets, and what it should gain
    apply(moves, rw)                       weights, biases, gains and bounds take the scales in
"""


import numpy as np

from onnxq.graph.match import constant, is_float, rank
from onnxq.quant.channel_scale.importance import importance, passed
from onnxq.quant.channel_scale.linear import read_weight
from onnxq.quant.channel_scale.noise import ValueNoise, WeightNoise
from onnxq.quant.channel_scale.spread import Spread
from onnxq.quant.channel_scale.trace import Trace
from onnxq.quant.eligibility import Kind, kind
from onnxq.quant.placement import plan
from onnxq.quant.plan import Role

_ROWS = 256

def measure(model, tr: Trace, context):
    wanted = {}
    for node in model.graph:
        values = [*node.outputs]
        if read_weight(node) is not None:
            values += [v for v in node.inputs if v is not None and constant(v) is None]
        for v in values:
            if is_float(v) and rank(v) is not None and (v in tr.ids or read_weight(node) is not None or True):
                wanted[v] = Spread(tr.of(v).shape)
    seen = context.observe(model, {v.name: s for v, s in wanted.items()})
    return {v: seen[v.name] for v in wanted if seen[v.name].count}

def terms_of(model, tr, spreads, target):
    decisions = plan(model, target)
    G = importance(model.graph, spreads, coherent=False); GC = importance(model.graph, spreads, coherent=True)
    import os
    if os.environ.get('WH'): GC = G
    values = {v.name: v for node in model.graph for v in node.outputs} | {v.name: v for v in model.graph.inputs}
    terms = []
    for members in decisions.groups.values():
        acts = [values[d.value] for d in members if d.role is Role.ACTIVATION and d.value in values and d.fixed is None]
        acts = [v for v in dict.fromkeys(acts) if v in spreads]
        if not any(v in tr.ids for v in acts):
            continue
        ids, hi, lo, eids, w = [], [], [], [], []
        for v in acts:
            i = tr.of(v).reshape(-1); s = spreads[v]
            ids.append(i); hi.append(np.maximum(s.max, 0).reshape(-1)); lo.append(np.maximum(-s.min, 0).reshape(-1))
            maker = v.producer()
            if maker is None or kind(maker, target) is not Kind.MOVE:
                if v not in G: continue
                eids.append(i); f = passed(maker, spreads); w.append((G[v] * (1 if f is None else np.broadcast_to(f, G[v].shape))).reshape(-1) / i.size)
        if not eids: continue
        ids = np.concatenate(ids); hi = np.concatenate(hi); lo = np.concatenate(lo)
        top = max(hi.max(), lo.max())
        if top <= 0: continue
        floor = top * 1e-6
        dead = np.maximum(hi, lo) <= floor
        hi = np.log(np.maximum(hi, np.where(dead, floor, floor))); lo = np.log(np.maximum(lo, floor))
        d = members[0]
        terms.append(ValueNoise(ids, hi, lo, np.concatenate(eids), np.concatenate(w), float(2**d.format.bits - 1)))
    axes = {}
    for d in decisions.values:
        if d.role is Role.WEIGHT:
            axes[d.value] = d
    for node in model.graph:
        wt = read_weight(node)
        if wt is None or node.inputs[wt.weight].name not in axes: continue
        d = axes[node.inputs[wt.weight].name]
        x, y = node.inputs[wt.data], node.outputs[0]
        if x not in spreads or y not in spreads or y not in GC: continue
        if x not in tr.ids and y not in tr.ids: continue
        g, o, i, k = wt.matrix.shape
        big = np.abs(wt.matrix).max(3)
        step = -(-o // _ROWS) if d.axis is not None else 1
        logs = np.log(np.maximum(big, big.max() * 1e-6 + 1e-30)).astype(np.float32)[:, ::step]
        idx = np.broadcast_to(tr.of(x).reshape(-1), (wt.inputs,)).reshape(g, i)
        idy = np.broadcast_to(tr.of(y).reshape(-1), (wt.outputs,)).reshape(g, o)[:, ::step]
        power = np.broadcast_to(spreads[x].mean_square.reshape(-1), (wt.inputs,)).reshape(g, i) * k
        weight = np.broadcast_to(GC[y].reshape(-1), (wt.outputs,)).reshape(g, o)[:, ::step]
        weight = weight / weight.size
        terms.append(WeightNoise(logs, idx, idy, power, weight, float(d.format.qmax), d.axis is not None))
    return terms
