"""The training loop shared by the float models and the QAT twin."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from digits_data import Images, Labels
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one run."""

    epochs: int
    rate: float
    weight_decay: float
    warp: float
    batch: int = 64
    smoothing: float = 0.05
    seed: int = 0


def seed_everything(seed: int) -> None:
    """Make the run repeatable: one thread, deterministic kernels, a fixed seed."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def _warped(images: Tensor, strength: float) -> Tensor:
    """Randomly rotate, stretch, shear and shift each image; `strength` 1 moves pixels by about one."""
    count = len(images)
    angle = 0.25 * strength * (2 * torch.rand(count) - 1)
    linear = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).reshape(-1, 2, 2)
    linear = linear + 0.12 * strength * (2 * torch.rand(count, 2, 2) - 1)
    shift = 0.2 * strength * (2 * torch.rand(count, 2, 1) - 1)
    grid = functional.affine_grid(torch.cat([linear, shift], dim=2), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _schedule(step: int, steps: int) -> float:
    """Learning-rate factor: a linear warm-up over the first tenth, then a half cosine to zero."""
    warm = steps // 10
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def fit(name: str, model: nn.Module, images: Images, labels: Labels, recipe: Recipe) -> None:
    """Train `model` in place, printing one line an epoch."""
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    batches = len(inputs) // recipe.batch
    steps = recipe.epochs * batches
    optimizer = torch.optim.AdamW(model.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule(step, steps))
    model.train()
    for epoch in range(recipe.epochs):
        losses = []
        for rows in torch.randperm(len(inputs))[: batches * recipe.batch].reshape(batches, recipe.batch):
            logits = model(_warped(inputs[rows], recipe.warp))
            loss = functional.cross_entropy(logits, targets[rows], label_smoothing=recipe.smoothing)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        print(f"{name} epoch {epoch + 1}/{recipe.epochs} loss {np.mean(losses):.4f}")
    model.eval()
