"""What a rule checker found."""

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One breach: the rule, the node or value, what is wrong and what to do, and who demands the rule."""

    rule: str
    where: str
    text: str
    demanded_by: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.text} (demanded by {self.demanded_by})"
