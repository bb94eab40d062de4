# What the vault's service needs beside the `pii` database: the key-encryption key, a place for its anchors and, where
# its records are in DynamoDB, three tables. It reads no zone.

locals {
  # Who opens the vault: its service, and the main job, which loads what it sealed.
  vault_roles = {
    pipeline = aws_iam_role.pipeline.id
    vault    = aws_iam_role.vault.id
  }
}

# Three tables, as pii_pipeline/vault/stores/dynamodb_tables.py makes them. Originals are sealed before they get here.
# What is deleted stays in backups for a week, sealed.
resource "aws_dynamodb_table" "vault_records" {
  count                       = var.vault_table == "" ? 0 : 1
  name                        = var.vault_table
  billing_mode                = "PAY_PER_REQUEST"
  deletion_protection_enabled = true
  hash_key                    = "record"
  range_key                   = "part"

  attribute {
    name = "record"
    type = "B"
  }

  attribute {
    name = "part"
    type = "B"
  }

  attribute {
    name = "subject"
    type = "B"
  }

  attribute {
    name = "mark"
    type = "B"
  }

  global_secondary_index {
    name            = "by_subject"
    hash_key        = "subject"
    projection_type = "KEYS_ONLY"
  }

  global_secondary_index {
    name            = "by_mark"
    hash_key        = "mark"
    projection_type = "KEYS_ONLY"
  }

  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = 7
  }
}

resource "aws_dynamodb_table" "vault_audit" {
  count                       = var.vault_table == "" ? 0 : 1
  name                        = "${var.vault_table}-audit"
  billing_mode                = "PAY_PER_REQUEST"
  deletion_protection_enabled = true
  hash_key                    = "log"
  range_key                   = "sequence"

  attribute {
    name = "log"
    type = "S"
  }

  attribute {
    name = "sequence"
    type = "N"
  }

  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = 7
  }
}

resource "aws_dynamodb_table" "vault_state" {
  count                       = var.vault_table == "" ? 0 : 1
  name                        = "${var.vault_table}-state"
  billing_mode                = "PAY_PER_REQUEST"
  deletion_protection_enabled = true
  hash_key                    = "of"
  range_key                   = "name"

  attribute {
    name = "of"
    type = "B"
  }

  attribute {
    name = "name"
    type = "S"
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }

  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = 7
  }
}

resource "aws_iam_role" "vault" {
  name        = "${var.name}-vault"
  description = "The vault's service: the key-encryption key, the vault's tables and anchors; no zone."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "WorkloadsTakeTheRole"
        Effect    = "Allow"
        Principal = { Service = var.pipeline_service }
        Action    = ["sts:AssumeRole", "sts:TagSession"]
      },
    ]
  })
}

resource "aws_iam_role_policy" "vault_anchors" {
  for_each = local.vault_roles
  name     = "vault-anchors"
  role     = each.value

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "FindAnchors"
        Effect   = "Allow"
        Action   = "s3:ListBucketVersions"
        Resource = aws_s3_bucket.anchors.arn
      },
      {
        # All that an anchor says is in its name: nobody has to read one.
        Sid      = "KeepAnchors"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:PutObjectRetention"]
        Resource = "${aws_s3_bucket.anchors.arn}/*"
      },
    ]
  })
}

# What the vault's store calls, table by table; a transaction is what its parts are. The audit log grows: nothing is
# changed or deleted there. Nobody makes or deletes a table.
resource "aws_iam_role_policy" "vault_tables" {
  for_each = { for name, role in local.vault_roles : name => role if var.vault_table != "" }
  name     = "vault-tables"
  role     = each.value

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "FindWriteAndDeleteRecords"
        Effect = "Allow"
        Action = [
          "dynamodb:BatchWriteItem",
          "dynamodb:DescribeTable",
          "dynamodb:PutItem",
          "dynamodb:Query",
          "dynamodb:UpdateItem",
        ]
        Resource = aws_dynamodb_table.vault_records[0].arn
      },
      {
        Sid      = "FindThemByPerson"
        Effect   = "Allow"
        Action   = "dynamodb:Query"
        Resource = "${aws_dynamodb_table.vault_records[0].arn}/index/*"
      },
      {
        Sid    = "ReadWriteAndDeleteState"
        Effect = "Allow"
        Action = [
          "dynamodb:BatchGetItem",
          "dynamodb:BatchWriteItem",
          "dynamodb:DescribeTable",
          "dynamodb:GetItem",
          "dynamodb:PutItem",
          "dynamodb:Query",
          "dynamodb:UpdateItem",
        ]
        Resource = aws_dynamodb_table.vault_state[0].arn
      },
      {
        Sid    = "ReadTheLogAndAppendToIt"
        Effect = "Allow"
        Action = [
          "dynamodb:ConditionCheckItem",
          "dynamodb:DescribeTable",
          "dynamodb:GetItem",
          "dynamodb:PutItem",
          "dynamodb:Query",
        ]
        Resource = aws_dynamodb_table.vault_audit[0].arn
      },
    ]
  })
}

# Anchors of the audit log: numbers and hashes. Under Object Lock, in COMPLIANCE mode, nobody deletes one before its
# time, the owner of the account included; how long that is says `anchor_retention` of the vault's policy.
resource "aws_s3_bucket" "anchors" {
  bucket              = "${var.name}-vault-anchors-${var.account}"
  object_lock_enabled = true

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "anchors" {
  bucket = aws_s3_bucket.anchors.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "anchors" {
  bucket                  = aws_s3_bucket.anchors.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "anchors" {
  bucket = aws_s3_bucket.anchors.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "anchors" {
  bucket     = aws_s3_bucket.anchors.id
  depends_on = [aws_s3_bucket_public_access_block.anchors]

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyOverTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.anchors.arn, "${aws_s3_bucket.anchors.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "OnlyTheVaultAnchors"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.anchors.arn}/*"
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = [aws_iam_role.pipeline.arn, aws_iam_role.vault.arn] } }
      },
      {
        Sid       = "NoneIsUnlockedOrHidden"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["s3:BypassGovernanceRetention", "s3:DeleteObject", "s3:PutObjectLegalHold"]
        Resource  = "${aws_s3_bucket.anchors.arn}/*"
      },
    ]
  })
}
