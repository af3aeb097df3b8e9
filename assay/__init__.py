"""Assay as a Python library: two lines do the main job, and nothing heavy is imported before it is needed.

    import assay
    version = assay.curate("licences")

The command `assay` is a skin over these functions.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.contract_diffs import ContractDiff, contract_diff
    from assay.contracts import WholeContract
    from assay.deciding import Decided, decide
    from assay.differences import Difference, diff
    from assay.door import (
        check,
        check_store,
        compare,
        contract,
        curate,
        evaluate,
        inspect,
        load,
        run,
        schema,
        score,
        stages,
        train,
    )
    from assay.experiments import Experiment, experiment
    from assay.forecasts import forecast
    from assay.forgetting import Forgetting, forget
    from assay.garbage import Garbage, gc
    from assay.indexes import check_index, rebuild_index
    from assay.inspection import Inspection
    from assay.openlineage import Lineage, lineage
    from assay.preferences import Pairs, pairs
    from assay.previews import Previews, preview
    from assay.results import (
        Adapter,
        Assayed,
        Checks,
        Comparison,
        Forecasted,
        IndexState,
        Merged,
        Parities,
        Scorecard,
        Scorecards,
        Version,
    )
    from assay.retraction import Retracted, retract
    from assay.reviewing import Reviewed, review
    from assay.series import Meaning, Shown, Versions, promote, published, rollback, versions
    from assay.serving import export, merge, parity
    from assay.stage_list import RecipeSchema, Stages
    from assay.tuning import Study, tune
    from assay.web import Served, serve
    from assay.whole_store import StoreState
    from curate.errors import AssayError

__all__ = [
    "Adapter",
    "AssayError",
    "Assayed",
    "Checks",
    "Comparison",
    "ContractDiff",
    "Decided",
    "Difference",
    "Experiment",
    "Forecasted",
    "Forgetting",
    "Garbage",
    "IndexState",
    "Inspection",
    "Lineage",
    "Meaning",
    "Merged",
    "Pairs",
    "Parities",
    "Previews",
    "RecipeSchema",
    "Retracted",
    "Reviewed",
    "Scorecard",
    "Scorecards",
    "Served",
    "Shown",
    "Stages",
    "StoreState",
    "Study",
    "Version",
    "Versions",
    "WholeContract",
    "check",
    "check_index",
    "check_store",
    "compare",
    "contract",
    "contract_diff",
    "curate",
    "decide",
    "diff",
    "evaluate",
    "experiment",
    "export",
    "forecast",
    "forget",
    "gc",
    "inspect",
    "lineage",
    "load",
    "merge",
    "pairs",
    "parity",
    "preview",
    "promote",
    "published",
    "rebuild_index",
    "retract",
    "review",
    "rollback",
    "run",
    "schema",
    "score",
    "serve",
    "stages",
    "train",
    "tune",
    "versions",
]

HOMES = {
    "Decided": "assay.deciding",
    "Difference": "assay.differences",
    "ContractDiff": "assay.contract_diffs",
    "Experiment": "assay.experiments",
    "Forecasted": "assay.results",
    "Forgetting": "assay.forgetting",
    "Garbage": "assay.garbage",
    "Inspection": "assay.inspection",
    "Lineage": "assay.openlineage",
    "Meaning": "assay.series",
    "Pairs": "assay.preferences",
    "Previews": "assay.previews",
    "RecipeSchema": "assay.stage_list",
    "Retracted": "assay.retraction",
    "Reviewed": "assay.reviewing",
    "Served": "assay.web",
    "Shown": "assay.series",
    "Stages": "assay.stage_list",
    "StoreState": "assay.whole_store",
    "Study": "assay.tuning",
    "Versions": "assay.series",
    "WholeContract": "assay.contracts",
    "check_index": "assay.indexes",
    "decide": "assay.deciding",
    "diff": "assay.differences",
    "contract_diff": "assay.contract_diffs",
    "export": "assay.serving",
    "experiment": "assay.experiments",
    "forecast": "assay.forecasts",
    "forget": "assay.forgetting",
    "gc": "assay.garbage",
    "lineage": "assay.openlineage",
    "merge": "assay.serving",
    "pairs": "assay.preferences",
    "parity": "assay.serving",
    "preview": "assay.previews",
    "promote": "assay.series",
    "published": "assay.series",
    "rebuild_index": "assay.indexes",
    "retract": "assay.retraction",
    "review": "assay.reviewing",
    "rollback": "assay.series",
    "serve": "assay.web",
    "tune": "assay.tuning",
    "versions": "assay.series",
}
"""Of what `assay.door` does not hold."""

if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module 'assay' has no attribute {name!r}")
        from assay.shadows import require_own_packages

        require_own_packages()
        from importlib import import_module

        home = HOMES.get(name, "assay.door")
        return getattr(import_module(home), name)

    def __dir__():
        return __all__
