"""What Snowplow's PII enrichment has replaced, brought into the vault.

It needs grpc and protobuf, and of the rest of the product what its client needs: it runs in an AWS Lambda.
"""
