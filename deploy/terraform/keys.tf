# Key policies name who uses a key, and nothing else gives its use away: administrators of the account manage the
# keys, but a role with all rights of the account decrypts nothing. Whoever changes a key's policy can change that:
# CloudTrail shows it (kms:PutKeyPolicy).

locals {
  # Neither kms:Decrypt nor kms:CreateGrant, which hands it on.
  administration = {
    Sid       = "AdministratorsManageAndDoNotUse"
    Effect    = "Allow"
    Principal = { AWS = "arn:aws:iam::${var.account}:root" }
    Action = [
      "kms:CancelKeyDeletion",
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:DescribeKey",
      "kms:DisableKey",
      "kms:EnableKey",
      "kms:EnableKeyRotation",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:ListGrants",
      "kms:ListKeyPolicies",
      "kms:ListKeyRotations",
      "kms:ListResourceTags",
      "kms:PutKeyPolicy",
      "kms:RevokeGrant",
      "kms:RotateKeyOnDemand",
      "kms:ScheduleKeyDeletion",
      "kms:TagResource",
      "kms:UntagResource",
      "kms:UpdateAlias",
      "kms:UpdateKeyDescription",
    ]
    Resource = "*"
  }
}

# Of the landing zone also the messages of the queues: what is in them ends there.
resource "aws_kms_key" "zone" {
  for_each                = local.zones
  description             = "${var.name}: the ${each.key} zone"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.administration,
      {
        Sid       = "ReadersOpenWhatLiesInTheZone"
        Effect    = "Allow"
        Principal = { AWS = local.readers[each.key] }
        Action    = "kms:Decrypt"
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = local.services[each.key] } }
      },
      {
        # An upload in parts opens its data key again for every part, a batch of messages for every message.
        Sid       = "WritersSealWhatTheyWrite"
        Effect    = "Allow"
        Principal = { AWS = local.writers[each.key] }
        Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = local.services[each.key] } }
      },
    ]
  })
}

resource "aws_kms_alias" "zone" {
  for_each      = local.zones
  name          = "alias/${var.name}-${each.key}"
  target_key_id = aws_kms_key.zone[each.key].arn
}

# S3 sends its notifications, which hold the names of objects and nothing of their content, to an encrypted queue.
resource "aws_kms_key" "notifications" {
  description             = "${var.name}: notifications of new landing objects"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.administration,
      {
        Sid       = "TheLandingBucketSends"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource  = "*"
        Condition = {
          ArnEquals    = { "aws:SourceArn" = aws_s3_bucket.zone["landing"].arn }
          StringEquals = { "aws:SourceAccount" = var.account }
        }
      },
      {
        Sid       = "ThePipelineReceives"
        Effect    = "Allow"
        Principal = { AWS = aws_iam_role.pipeline.arn }
        Action    = "kms:Decrypt"
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = "sqs.${var.region}.amazonaws.com" } }
      },
    ]
  })
}

# What wraps the pipeline's own keys (PII_KEY_ENCRYPTION_KEY), the vault's among them. Lost, everything encrypted in the lake is lost.
resource "aws_kms_key" "key_encryption" {
  description             = "${var.name}: key-encryption key of the key store"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.administration,
      {
        Sid       = "ThePipelineAndTheVaultWrapKeysAndSayWhatFor"
        Effect    = "Allow"
        Principal = { AWS = [aws_iam_role.pipeline.arn, aws_iam_role.vault.arn] }
        Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource  = "*"
        Condition = { Null = { "kms:EncryptionContextKeys" = "false" } }
      },
    ]
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "key_encryption" {
  name          = "alias/${var.name}-key-encryption"
  target_key_id = aws_kms_key.key_encryption.arn
}
