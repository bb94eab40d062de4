# The settings of the pipeline, as PII_… and stream.yaml take them.

output "environment" {
  description = "Environment of code location and runs, and of the vault's service; databases are yours."

  value = merge(
    { for zone in local.zones : "PII_${upper(zone)}_URI" => "s3://${aws_s3_bucket.zone[zone].bucket}" },
    {
      AWS_REGION             = var.region
      PII_KEY_ENCRYPTION_KEY = "aws-kms://${aws_kms_alias.key_encryption.name}"
      PII_VAULT_ANCHORS      = "s3://${aws_s3_bucket.anchors.bucket}"
    },
  )
}

output "queues" {
  description = "The queues' URLs, for `source` in stream.yaml."
  value       = { for name, queue in aws_sqs_queue.stream : name => queue.url }
}

output "notifications" {
  description = "PII_LANDING_NOTIFICATIONS, if landing is too large to be listed every 30 seconds."
  value       = aws_sqs_queue.notifications.url
}

output "roles" {
  description = "The ARNs of the roles, by who takes them."

  value = {
    pipeline          = aws_iam_role.pipeline.arn
    producer          = aws_iam_role.producer.arn
    vault             = aws_iam_role.vault.arn
    lake_reader       = aws_iam_role.lake_reader.arn
    consented_readers = { for dataset, role in aws_iam_role.consented_reader : dataset => role.arn }
  }
}
