"""Inputs of models, and five pictures that fit one of them."""

import numpy as np

from onnxq.data.samples import InputSpec

IMAGE = InputSpec("image", np.dtype(np.float32), (None, 3, 4, 4))
PAIR = [
    InputSpec("ids", np.dtype(np.int64), (None, None)),
    InputSpec("mask", np.dtype(np.float32), (1, None)),
]
DATA = np.random.default_rng(0).normal(size=(5, 1, 3, 4, 4)).astype(np.float32)
FEEDS = [{"image": x} for x in DATA]
GOOD = DATA[0]
