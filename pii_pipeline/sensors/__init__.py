"""What watches: landing zones and queues. Each sensor only notices and asks for runs; the work is theirs."""

from pii_pipeline.sensors.landing_objects import landing_sensor, notification_sensor
from pii_pipeline.sensors.queues import queue_sensor

__all__ = ["landing_sensor", "notification_sensor", "queue_sensor"]
