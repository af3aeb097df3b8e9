"""The rules of duplicates and conflicts, as a recipe states them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from curate.sets.keys import Compared


class Rules(Compared):
    """What is a duplicate, and what becomes of conflicts."""

    same_target: bool = Field(
        True,
        description="Remove a near-duplicate only if its answer is the same. Where `scope` has answers compared, they "
        "are near like all that is compared, and this is false unless it is stated.",
    )
    conflicts: Literal["quarantine", "majority", "keep_and_flag"] = Field(
        "quarantine", description="What becomes of rows with equal prompts and different answers."
    )
    conflict_similarity: float | None = Field(
        None,
        le=1,
        description="Also prompts of at least this true Jaccard similarity conflict; without it, equal ones only.",
    )

    @model_validator(mode="before")
    @classmethod
    def _answers_compared_are_near(cls, stated: Any) -> Any:
        if isinstance(stated, dict) and stated.get("scope", "prompt") != "prompt":
            return {"same_target": False} | stated
        return stated

    @model_validator(mode="after")
    def _near_conflicts_are_compared(self) -> "Rules":
        if self.conflict_similarity is not None and self.scope != "prompt":
            raise ValueError("conflict_similarity compares prompts, so scope must be prompt")
        if self.scope == "answer" and self.same_target:
            raise ValueError("scope answer with same_target would remove equal answers only: leave same_target out")
        if self.conflict_similarity is not None and self.conflict_similarity < self.threshold:
            raise ValueError(f"conflict_similarity must be at least the threshold, {self.threshold:g}")
        return self
