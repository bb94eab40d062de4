"""One layer of one stream as a Dagster asset: the pipeline does the work, Dagster is told what came of it."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from pii_pipeline.asset_checks import no_personal_data_result, no_personal_data_spec
from pii_pipeline.partitions import hour_of_partition
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import LayerResult, Progress
from pii_pipeline.privacy.leak_gate import LeakError
from pii_pipeline.steps import forced, guarded, numbers
from pii_pipeline.streams.model import Stream

Work = Callable[[Installation, str, bool, Progress, Collection[str]], LayerResult]
"""`work(installation, hour, force, progress, asked)` makes the layer for the hour; `asked`: the datasets of
the stream that the run makes."""


def layer_assets(
    stream: Stream,
    specs: Sequence[dg.AssetSpec],
    gated: str,
    work: Work,
    describe: Callable[[str, LayerResult], Mapping[str, Any]],
) -> dg.AssetsDefinition:
    """The assets of `specs`, made by one step that is named after the first.

    `gated` is the dataset whose check tells the leak gate's verdict; `describe(dataset, result)` is what the
    UI shows of a dataset before `common_metadata`.
    """
    gate = dg.AssetKey([stream.name, gated])

    @dg.multi_asset(name="__".join(specs[0].key.path), specs=specs, check_specs=[no_personal_data_spec(gate)])
    def layer(
        context: dg.AssetExecutionContext,
        installation: dg.ResourceParam[Installation],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        hour = hour_of_partition(context.partition_key)
        force = forced(context.run.tags)
        keys = context.run.asset_selection or context.job_def.asset_layer.executable_asset_keys
        asked = {key.path[-1] for key in keys if key.path[0] == stream.name}

        def gated_work() -> LayerResult | LeakError:
            try:
                return work(installation, hour, force, progress, asked)
            except LeakError as refusal:
                return refusal

        made = guarded(gated_work)
        if isinstance(made, LeakError):
            yield no_personal_data_result(gate, made.leaks)
            # Not left to the failed check: without the datasets Dagster would complain about them instead.
            raise dg.Failure(str(made), allow_retries=False)
        for spec in specs:
            dataset = spec.key.path[-1]
            metadata = {**describe(dataset, made), **common_metadata(dataset, made)}
            yield dg.MaterializeResult(spec.key, metadata=metadata)
        yield no_personal_data_result(gate, [])

    return layer


def loading_asset(
    spec: dg.AssetSpec,
    load: Callable[[Installation, str, bool, Progress], LayerResult],
    describe: Callable[[Installation, LayerResult], Mapping[str, Any]],
) -> dg.AssetsDefinition:
    """The asset of `spec`, of a layer that writes no files, but into a database.

    `load(installation, hour, force, progress)` makes it; `describe` is what the UI shows of it before
    `work_metadata`.
    """

    @dg.multi_asset(name="__".join(spec.key.path), specs=[spec])
    def loading(
        context: dg.AssetExecutionContext,
        installation: dg.ResourceParam[Installation],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:
        hour = hour_of_partition(context.partition_key)
        force = forced(context.run.tags)
        loaded = guarded(lambda: load(installation, hour, force, progress))
        yield dg.MaterializeResult(
            spec.key, metadata={**describe(installation, loaded), **work_metadata(loaded)}
        )

    return loading


def derived_among(stream: Stream, asked: Collection[str]) -> list[str]:
    """The stream's derived datasets among those that the run makes."""
    return [name for name in stream.derived if name in asked]


def common_metadata(dataset: str, result: LayerResult) -> dict[str, Any]:
    """Rows, bytes and files of the dataset in the hour, and what this run did; numbers are plotted."""
    parts = [file for file in result.files if file.dataset == dataset]
    files = {file.path: file.bytes for file in parts}  # batches may share one
    return {
        "dagster/partition_row_count": sum(file.rows for file in parts),
        "files": len(files),
        "bytes": sum(files.values()),
        **work_metadata(result),
    }


def work_metadata(result: LayerResult) -> dict[str, Any]:
    """What this run did; numbers are plotted."""
    metadata: dict[str, Any] = {
        "batches_made": result.made,
        "batches_skipped": result.skipped,
        "seconds": round(result.seconds, 3),
    }
    if result.kept:
        metadata["batches_kept"] = dg.MetadataValue.md("\n".join(f"- {reason}" for reason in result.kept))
    return metadata


def counts_metadata(result: LayerResult) -> dict[str, int | float]:
    """The counts of the hour, and the speed of this run if it made anything."""
    metadata: dict[str, int | float] = dict(numbers(result.counts))
    if result.made and result.seconds > 0:
        metadata["records_per_second"] = round(result.made_records / result.seconds, 1)
    return metadata
