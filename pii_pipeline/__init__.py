"""Keep personal data out of the data lake: validated, pseudonymized, consented events on Dagster."""
