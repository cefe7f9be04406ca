"""Calibration methods: what range of real numbers a value's codes should cover.

low, high = get_method("percentile:99.99").range(statistic, INT8, symmetric=True)
"""

from onnxq.calibration.ranges.base import Method
from onnxq.calibration.ranges.channels import channel_ranges
from onnxq.calibration.ranges.registry import get_method, method_names
from onnxq.calibration.ranges.simple import Eq

__all__ = ["Eq", "Method", "channel_ranges", "get_method", "method_names"]
