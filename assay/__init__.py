"""Assay as a Python library: two lines do the main job, and nothing heavy is imported before it is needed.

    import assay
    version = assay.curate("licences")

The command `assay` is a skin over these functions.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.contract_diffs import ContractDiff, contract_diff
    from assay.contracts import WholeContract
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
    from assay.indexes import check_index, rebuild_index
    from assay.inspection import Inspection
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
    from assay.serving import export, merge, parity
    from assay.stage_list import RecipeSchema, Stages
    from assay.tuning import Study, tune
    from assay.whole_store import StoreState
    from curate.errors import AssayError

__all__ = [
    "Adapter",
    "AssayError",
    "Assayed",
    "Checks",
    "Comparison",
    "ContractDiff",
    "Experiment",
    "Forecasted",
    "IndexState",
    "Inspection",
    "Merged",
    "Pairs",
    "Parities",
    "Previews",
    "RecipeSchema",
    "Scorecard",
    "Scorecards",
    "Stages",
    "StoreState",
    "Study",
    "Version",
    "WholeContract",
    "check",
    "check_index",
    "check_store",
    "compare",
    "contract",
    "contract_diff",
    "curate",
    "evaluate",
    "experiment",
    "export",
    "forecast",
    "inspect",
    "load",
    "merge",
    "pairs",
    "parity",
    "preview",
    "rebuild_index",
    "run",
    "schema",
    "score",
    "stages",
    "train",
    "tune",
]

HOMES = {
    "ContractDiff": "assay.contract_diffs",
    "Experiment": "assay.experiments",
    "Forecasted": "assay.results",
    "Inspection": "assay.inspection",
    "Pairs": "assay.preferences",
    "Previews": "assay.previews",
    "RecipeSchema": "assay.stage_list",
    "Stages": "assay.stage_list",
    "StoreState": "assay.whole_store",
    "Study": "assay.tuning",
    "WholeContract": "assay.contracts",
    "check_index": "assay.indexes",
    "contract_diff": "assay.contract_diffs",
    "export": "assay.serving",
    "experiment": "assay.experiments",
    "forecast": "assay.forecasts",
    "merge": "assay.serving",
    "pairs": "assay.preferences",
    "parity": "assay.serving",
    "preview": "assay.previews",
    "rebuild_index": "assay.indexes",
    "tune": "assay.tuning",
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
