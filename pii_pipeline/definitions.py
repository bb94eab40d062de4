"""The only wiring: streams, resources, checks and jobs become Dagster's definitions."""

from __future__ import annotations

import warnings

import dagster as dg

from pii_pipeline.asset_checks import stream_checks
from pii_pipeline.assets import stream_assets
from pii_pipeline.assets.broken_stream import broken_stream_asset
from pii_pipeline.assets.specs import house_policy
from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.jobs import drain_queue, process_events
from pii_pipeline.maintenance import apply_retention, compact_files, report_key_ages
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.layer import Progress, silent
from pii_pipeline.resources import resources
from pii_pipeline.schedules import closed_hour, daily_compaction, daily_retention, weekly_key_ages
from pii_pipeline.sensors import landing_sensor, notification_sensor, queue_sensor
from pii_pipeline.settings import SettingError, read_settings
from pii_pipeline.streams.loader import name_problem


def build(installation: Installation, progress: Progress = silent) -> dg.Definitions:
    """The definitions over the installation's streams. Reads YAML; opens no database, key or zone.

    A stream that does not load is an asset that fails. Raises `ConfigurationError` for a missing folder of
    streams.
    """
    streams, broken = installation.streams.values(), installation.streams.broken
    settings = installation.settings
    warehouse = installation.warehouse.kind
    vault = settings.vault_url.partition(":")[0].partition("+")[0]
    seconds = settings.sensor_seconds
    job, compaction, retention, ages = process_events(), compact_files(), apply_retention(), report_key_ages()
    drain = drain_queue()
    queues = [
        queue_sensor(stream, drain, seconds, on=settings.zones["landing"].startswith("s3://"))
        for stream in streams
        if stream.source is not None
    ]
    notifications = settings.landing_notifications
    landing = (
        [notification_sensor(installation.streams, notifications, job, seconds)]
        if notifications
        else [landing_sensor(stream, job, seconds) for stream in streams]
    )
    with warnings.catch_warnings():
        # Partitioned checks and mapping over assets are a preview in this Dagster, code references a beta; it
        # is pinned.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        definitions = dg.Definitions(
            assets=[
                *(asset for stream in streams for asset in stream_assets(stream, warehouse, vault)),
                # A folder that cannot be a stream's name was never a stream, and cannot be an asset's name.
                *(broken_stream_asset(name, broken[name]) for name in broken if not name_problem(name)),
            ],
            asset_checks=[check for stream in streams for check in stream_checks(stream)],
            jobs=[job, *([drain] if queues else []), compaction, retention, ages],
            sensors=[*landing, *queues],
            schedules=[
                closed_hour(installation.streams, job),
                daily_compaction(compaction),
                daily_retention(retention),
                weekly_key_ages(ages),
            ],
            resources=resources(installation, progress),
            # A step costs 0.1 s so, and 3 s in a process of its own; parallelism lives inside the steps.
            executor=dg.in_process_executor,
        )
        definitions = definitions.map_asset_specs(func=house_policy)
        # Sensors get their jobs only now, with such a warning for each. Dagster keeps what comes of it.
        definitions.get_repository_def()
        return definitions


@dg.definitions
def defs() -> dg.Definitions:
    """What ``dagster``, ``dg`` and the UI load."""
    try:
        installation = Installation(read_settings())
        streams = installation.streams
        for problem in streams.problems_of(streams.broken):
            dg.get_dagster_logger().error(str(problem))
        return build(installation)
    except (ConfigurationError, SettingError) as error:
        problem = str(error)
    raise dg.DagsterInvalidDefinitionError(problem)
