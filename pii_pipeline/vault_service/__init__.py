"""The vault as a gRPC service: Piinguin's wire protocol, and ours. Knows neither keys nor Dagster."""
