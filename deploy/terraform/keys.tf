# Key policies name who uses a key, and nothing else gives its use away: administrators of the account manage the
# keys, but a role with all rights of the account decrypts nothing.

resource "aws_kms_key" "zone" {
  for_each                = local.zones
  description             = "${var.name}: objects of the ${each.key} zone${each.key == "landing" ? " and messages of the queues" : ""}"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = templatefile("${path.module}/policies/zone-key.json", {
    account  = local.account
    readers  = jsonencode(concat([aws_iam_role.pipeline.arn], local.readers[each.key]))
    writers  = jsonencode(concat([aws_iam_role.pipeline.arn], each.key == "landing" ? [aws_iam_role.producer.arn] : []))
    services = jsonencode([for service in each.key == "landing" ? ["s3", "sqs"] : ["s3"] : "${service}.${data.aws_region.current.region}.amazonaws.com"])
  })
}

resource "aws_kms_alias" "zone" {
  for_each      = local.zones
  name          = "alias/${var.name}-${each.key}"
  target_key_id = aws_kms_key.zone[each.key].key_id
}

# S3 sends its notifications, which hold the keys of objects and nothing of their content, to an encrypted queue.
resource "aws_kms_key" "notifications" {
  description             = "${var.name}: notifications of new landing objects"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = templatefile("${path.module}/policies/notifications-key.json", {
    account  = local.account
    bucket   = aws_s3_bucket.zone["landing"].arn
    pipeline = aws_iam_role.pipeline.arn
    service  = "sqs.${data.aws_region.current.region}.amazonaws.com"
  })
}

# What wraps the pipeline's own keys (PII_KEY_ENCRYPTION_KEY). Lost, everything encrypted in the lake is lost.
resource "aws_kms_key" "key_encryption" {
  description             = "${var.name}: key-encryption key of the key store"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = templatefile("${path.module}/policies/key-encryption-key.json", {
    account  = local.account
    pipeline = aws_iam_role.pipeline.arn
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "key_encryption" {
  name          = "alias/${var.name}-key-encryption"
  target_key_id = aws_kms_key.key_encryption.key_id
}
