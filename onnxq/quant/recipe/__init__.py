"""Recipes: what a user wants otherwise than the target would have it, as data. Later rules win.

    [[rule]]                  # keep every Softmax in float
    op = "Softmax"
    dtype = "float"

    [[rule]]                  # what the nodes of the head make gets 16 bits
    node = "head/.*"
    dtype = "int16"
    symmetric = true

    [[rule]]                  # a range that is known better than the samples tell
    value = "logits"
    range = [-8.0, 8.0]

Which nodes and values a rule is for:

    op     an operator type                 node   a pattern for the node's name or that of its first output
    value  a pattern for the value's name   (op and node may stand together; value stands alone)

What it says: ``dtype`` (``float``, or a dtype that the target takes), ``symmetric``, ``power_of_two`` and
``range`` of the values that the nodes make, or of the named values; ``weight`` (a dtype) and ``per_channel``
of the weights that the nodes read. A node with ``dtype = "float"`` stays float; so does a node that makes or
reads a value with ``dtype = "float"``. Values that share one scale share the widest dtype asked for.
Patterns are regular expressions for the whole name. A rule that is for nothing in the model is an error.
"""

from onnxq.quant.recipe.choices import Choices
from onnxq.quant.recipe.rules import FLOAT, NOTHING, Recipe, Rule, Wish
from onnxq.quant.recipe.text import load_recipe, parse_recipe

__all__ = ["FLOAT", "NOTHING", "Choices", "Recipe", "Rule", "Wish", "load_recipe", "parse_recipe"]
