"""Queues that messages are taken from: Amazon SQS, or what speaks its protocol.

Region, profile, credentials and endpoint are what boto3 takes them to be. boto3 is imported when a queue is
opened. No message carries anything that was in a queue.
"""

from pii_pipeline.queues.errors import QueueError, QueueRefused, QueueUnavailable
from pii_pipeline.queues.sqs import AT_ONCE, NAME_OR_URL, Queue, Received, open_queue

__all__ = [
    "AT_ONCE",
    "NAME_OR_URL",
    "Queue",
    "QueueError",
    "QueueRefused",
    "QueueUnavailable",
    "Received",
    "open_queue",
]
