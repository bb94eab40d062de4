"""What watches: landing zones. Each sensor only notices and asks for runs; the work is theirs."""

from pii_pipeline.sensors.landing_objects import landing_sensor

__all__ = ["landing_sensor"]
