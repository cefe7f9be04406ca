"""Mixed precision by search: which values get 16 bits, which nodes stay float, which weights get 4 bits.

    found = choose_precision(model, context, inserter, Budget(sqnr=30))
    found.recipe                                  # TOML; insert-qdq{recipe='…'} makes the same bytes of it

Every combination that is considered is measured (:mod:`onnxq.evaluate.bench`), none is estimated:

1. all is quantized as the target has it, then each exemption is tried alone in that state;
2. *forward*: the exemption that lowers the noise most for each node it costs is taken. Its gain is that of
   the state in which it was measured last, so it is measured again before it is taken, and goes back
   into the queue if another one then promises more (lazy greedy; noise powers nearly add up, so few do);
3. *backward*: exemptions, those taken last first, are withdrawn where the budget holds without them.

For ``size`` the exemptions are 4-bit weights, the one that raises the noise least for each byte saved first,
until the model is small enough; then those that the budget does not need are withdrawn.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from time import monotonic

import onnx_ir as ir

from onnxq.evaluate.bench import SAMPLES, Bench, Effect, Inserter
from onnxq.pipeline.context import Context
from onnxq.quant.placement import plan as place
from onnxq.quant.plan import Plan, Role
from onnxq.quant.recipe import Recipe, load_recipe
from onnxq.search.budget import Budget, Precision
from onnxq.search.exemptions import Exemption, Kind, exemptions, recipe_of, small_weights
from onnxq.search.shares import shares, weight_bytes
from onnxq.targets.target import Target

__all__ = ["choose_precision"]

_BATCH = 24
_LOUDEST = 1e9
_NEGLIGIBLE = 1e-3
"""A move must lower the noise by this part of it: a hundredth of a dB is no reason for 16 bits."""


def choose_precision(
    model: ir.Model,
    context: Context,
    inserter: Inserter,
    budget: Budget,
    *,
    prefer: Kind | None = None,
    limit: int = SAMPLES,
    seconds: float = math.inf,
) -> Precision:
    """Search on a prepared float model: ranges from all samples of ``context``, errors on ``limit`` of them.

    Raises:
        UsageError: the target allows no exemption, or the recipe or options of ``inserter`` are wrong.
        DataError: there are no samples, or they do not fit.
    """
    return _Search(model, context, inserter, budget, limit, seconds).run(prefer)


class _Search:
    def __init__(
        self,
        model: ir.Model,
        context: Context,
        inserter: Inserter,
        budget: Budget,
        limit: int,
        seconds: float,
    ) -> None:
        self.model, self.context, self.inserter, self.budget = model, context, inserter, budget
        self.limit, self.deadline = limit, monotonic() + seconds
        self.halfway = monotonic() + seconds / 2
        self.target: Target = inserter.target(context.target)
        self.given = load_recipe(inserter.recipe) if inserter.recipe else Recipe()
        self.start = inserter.plan(model, context)
        self.narrow = shares(model, self.start).narrow
        self.plans: dict[tuple[Exemption, ...], Plan] = {(): self.start}
        self.effects: dict[frozenset[Exemption], Effect] = {}
        self.late = False

    def run(self, prefer: Kind | None) -> Precision:
        if self.budget.size is not None:
            moves = small_weights(self.start)
        else:
            moves = exemptions(self.start, self.target, prefer)
        alone = [self.plan((move,)) for move in moves]
        self.bench = Bench.of(self.model, self.context, self.inserter, [self.start, *alone], self.limit)
        before = self.effect([()], ())[0]
        chosen = self.backward(self.forward(moves))
        after = self.effect([chosen], chosen)[0]
        return Precision(
            chosen,
            recipe_of(chosen, self.given).toml(),
            before,
            after,
            self.coverage(chosen),
            self.size(chosen),
            len(self.effects),
            not self.late,
            self.holds(chosen, after),
        )

    # --- the search -----------------------------------------------------------------------------

    def forward(self, moves: Sequence[Exemption]) -> tuple[Exemption, ...]:
        chosen: tuple[Exemption, ...] = ()
        now = self.effect([()], ())[0]
        if not moves or self.done(chosen, now):
            return chosen
        queue = [(-merit, 0, i) for i, merit in self.first_round(moves, now)]
        heapq.heapify(queue)
        while queue and not self.done(chosen, now):
            if self.out_of_time():
                break
            _, age, i = heapq.heappop(queue)
            candidate = (*chosen, moves[i])
            if not self.affordable(candidate):
                continue
            then = self.effect([candidate], chosen)[0]
            merit = self.merit(now, then, chosen, moves[i])
            if age < len(chosen) and queue and -merit > queue[0][0]:
                heapq.heappush(queue, (-merit, len(chosen), i))
                continue
            if self.budget.size is None and self.is_no_better(then, now):
                continue
            chosen, now = candidate, then
            self.report(chosen, now)
        return chosen

    def first_round(self, moves: Sequence[Exemption], now: Effect) -> Iterator[tuple[int, float]]:
        """Each move alone, in half of the time. What float does not better, 16 bits do not: not tried."""
        floats = {move.where[0] for move in moves if move.kind is Kind.FLOAT and move.selector == "value"}
        hopeless: set[str] = set()
        for later in (False, True):
            rest = [
                (i, move)
                for i, move in enumerate(moves)
                if (move.kind is Kind.WIDE and move.where[0] in floats) is later
                and not (later and move.where[0] in hopeless)
            ]
            for at in range(0, len(rest), _BATCH):
                if monotonic() > self.halfway:
                    self.late = True
                    return
                batch = rest[at : at + _BATCH]
                pairs = list(zip(batch, self.effect([(move,) for _, move in batch], ()), strict=True))
                yield from ((i, self.merit(now, then, (), move)) for (i, move), then in pairs)
                hopeless |= {move.where[0] for (_, move), then in pairs if self.is_no_better(then, now)}
                self.context.progress("mixed precision, each alone", at + len(batch), len(rest))

    def backward(self, chosen: tuple[Exemption, ...]) -> tuple[Exemption, ...]:
        """Withdraw what the budget does not need: the exemption that was taken last is the first to go."""
        now = self.effect([chosen], chosen)[0]
        reached = self.holds(chosen, now)
        for move in reversed(chosen) if self.budget.size is None else chosen:
            if self.out_of_time():
                break
            rest = tuple(other for other in chosen if other is not move)
            then = self.effect([rest], chosen)[0]
            if self.budget.coverage is None and reached:
                needless = self.holds(rest, then)
            else:
                needless = self.noise(then) <= self.noise(now) * (1 + _NEGLIGIBLE)
            if needless:
                chosen, now = rest, then
        return chosen

    def merit(self, now: Effect, then: Effect, chosen: tuple[Exemption, ...], move: Exemption) -> float:
        """Noise removed per node exempted; for 4-bit weights the noise added per byte saved, negative."""
        change = self.noise(now) - self.noise(then)
        if self.budget.size is not None:
            saved = self.size(chosen) - self.size((*chosen, move))
            return change / saved if saved > 0 else -math.inf
        return change / max(self.cost((*chosen, move)) - self.cost(chosen), 1e-4)

    def cost(self, chosen: tuple[Exemption, ...]) -> float:
        """Nodes that are not on 8 bits, those in float twice."""
        now = shares(self.model, self.plan(chosen))
        return -now.narrow - now.nodes

    def noise(self, effect: Effect) -> float:
        """Noise to signal as a power ratio: of the worst output, and a little of the mean, against ties."""
        goal = self.budget.sqnr if self.budget.sqnr is not None else 200.0
        ratios = [min(10 ** (-min(dB, goal) / 10), _LOUDEST) for dB in effect.outputs.values()]
        return max(ratios) + 0.01 * sum(ratios) / len(ratios) if ratios else 0.0

    def is_no_better(self, then: Effect, now: Effect) -> bool:
        return self.noise(then) > self.noise(now) * (1 - _NEGLIGIBLE)

    def done(self, chosen: tuple[Exemption, ...], now: Effect) -> bool:
        return self.budget.coverage is None and self.holds(chosen, now)

    def affordable(self, chosen: tuple[Exemption, ...]) -> bool:
        """Whether the budget allows it, and something is left on integers at all."""
        if not self.plan(chosen).quantized_nodes:
            return False
        return self.budget.coverage is None or self.coverage(chosen) >= self.budget.coverage

    def holds(self, chosen: tuple[Exemption, ...], effect: Effect) -> bool:
        if self.budget.sqnr is not None:
            return effect.worst >= self.budget.sqnr
        if self.budget.size is not None:
            return self.size(chosen) <= self.budget.size
        if self.budget.metric_drop is not None:
            return 1 - effect.decisions <= self.budget.metric_drop
        return self.affordable(chosen)

    # --- looking --------------------------------------------------------------------------------

    def plan(self, chosen: tuple[Exemption, ...]) -> Plan:
        if chosen not in self.plans:
            recipe = recipe_of(chosen, self.given)
            self.plans[chosen] = place(self.model, self.target, recipe)
        return self.plans[chosen]

    def effect(
        self, combinations: Sequence[tuple[Exemption, ...]], near: tuple[Exemption, ...]
    ) -> list[Effect]:
        """The effects of some combinations that all differ little from ``near``."""
        new = [c for c in combinations if frozenset(c) not in self.effects]
        if new:
            settings = [self.bench.setting(self.plan(c)) for c in new]
            base = self.bench.setting(self.plan(near))
            found = self.bench.measure(settings, base)
            self.effects.update((frozenset(c), effect) for c, effect in zip(new, found, strict=True))
        return [self.effects[frozenset(c)] for c in combinations]

    def report(self, chosen: tuple[Exemption, ...], now: Effect) -> None:
        total = len(chosen) + 1
        self.context.progress(f"mixed precision, {now.worst:.1f} dB", len(chosen), total)

    def coverage(self, chosen: tuple[Exemption, ...]) -> float:
        return shares(self.model, self.plan(chosen)).narrow / self.narrow if self.narrow else 1.0

    def size(self, chosen: tuple[Exemption, ...]) -> float:
        bits = {
            d.value: d.format.bits
            for d in self.plan(chosen).values
            if d.role in (Role.WEIGHT, Role.CONSTANT, Role.BIAS)
        }
        whole = weight_bytes(self.model, {})
        return weight_bytes(self.model, bits) / whole if whole else 0.0

    def out_of_time(self) -> bool:
        if monotonic() > self.deadline:
            self.late = True
            return True
        return False
