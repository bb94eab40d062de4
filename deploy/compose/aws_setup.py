"""What Terraform makes in an account, made in an emulator that has just started: buckets, a queue, a key."""

from os import environ
from urllib.parse import urlsplit

import boto3

ALIAS = urlsplit(environ["PII_KEY_ENCRYPTION_KEY"])  # aws-kms://alias/NAME
ZONES = ("LANDING", "RESTRICTED", "LAKE", "CONSENTED")
QUEUES = ("logins",)


def main() -> None:
    """Run again it changes nothing: whoever started twice keeps the first key."""
    s3, sqs, kms = (boto3.client(service) for service in ("s3", "sqs", "kms"))
    region = s3.meta.region_name
    for zone in ZONES:
        bucket = urlsplit(environ[f"PII_{zone}_URI"]).netloc
        if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    anchors = urlsplit(environ["PII_VAULT_ANCHORS"]).netloc
    if anchors not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(
            Bucket=anchors,
            ObjectLockEnabledForBucket=True,
            CreateBucketConfiguration={"LocationConstraint": region},
        )
    for queue in QUEUES:
        sqs.create_queue(QueueName=queue)
    alias = f"{ALIAS.netloc}{ALIAS.path}"
    if alias not in {found["AliasName"] for found in kms.list_aliases()["Aliases"]}:
        kms.create_alias(AliasName=alias, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])


if __name__ == "__main__":
    main()
