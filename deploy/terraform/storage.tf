# A bucket, a key and a policy for each zone: what may be read is decided three times, and every one has to agree.

locals {
  zones = toset(["landing", "restricted", "lake", "consented"])

  # Who may open what lies in a zone.
  readers = {
    landing    = [aws_iam_role.pipeline.arn]
    restricted = [aws_iam_role.pipeline.arn]
    lake       = [aws_iam_role.pipeline.arn, aws_iam_role.lake_reader.arn]
    consented  = concat([aws_iam_role.pipeline.arn], [for role in aws_iam_role.consented_reader : role.arn])
  }

  # Who may put something there.
  writers = {
    landing    = [aws_iam_role.pipeline.arn, aws_iam_role.producer.arn]
    restricted = [aws_iam_role.pipeline.arn]
    lake       = [aws_iam_role.pipeline.arn]
    consented  = [aws_iam_role.pipeline.arn]
  }

  # Through which services: a key of a zone opens nothing that is handed to it directly.
  services = {
    landing    = ["s3.${var.region}.amazonaws.com", "sqs.${var.region}.amazonaws.com"]
    restricted = ["s3.${var.region}.amazonaws.com"]
    lake       = ["s3.${var.region}.amazonaws.com"]
    consented  = ["s3.${var.region}.amazonaws.com"]
  }
}

resource "aws_s3_bucket" "zone" {
  for_each = local.zones
  bucket   = "${var.name}-${each.key}-${var.account}"
}

resource "aws_s3_bucket_public_access_block" "zone" {
  for_each                = local.zones
  bucket                  = aws_s3_bucket.zone[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# No ACLs: policies alone say who reads, and what a producer of another account puts is the bucket owner's.
resource "aws_s3_bucket_ownership_controls" "zone" {
  for_each = local.zones
  bucket   = aws_s3_bucket.zone[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "zone" {
  for_each = local.zones
  bucket   = aws_s3_bucket.zone[each.key].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.zone[each.key].arn
    }
  }
}

# Only the lake keeps what was deleted or replaced, for a month: its input is gone after days, so nothing else could
# bring it back. In the other zones what is deleted has to be gone: landing and restricted hold personal data in
# clear, consented is made again from the lake.
resource "aws_s3_bucket_versioning" "zone" {
  for_each = local.zones
  bucket   = aws_s3_bucket.zone[each.key].id

  versioning_configuration {
    status = each.key == "lake" ? "Enabled" : "Disabled"
  }
}

# No rule deletes from landing or restricted: only the pipeline knows what has been processed, and its retention
# schedule does it.
resource "aws_s3_bucket_lifecycle_configuration" "zone" {
  for_each   = local.zones
  bucket     = aws_s3_bucket.zone[each.key].id
  depends_on = [aws_s3_bucket_versioning.zone]

  rule {
    id     = "abort-incomplete-uploads"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  dynamic "rule" {
    for_each = each.key == "lake" ? [1] : []

    content {
      id     = "expire-replaced-versions"
      status = "Enabled"
      filter {}

      noncurrent_version_expiration {
        noncurrent_days = 30
      }

      expiration {
        expired_object_delete_marker = true
      }
    }
  }
}

resource "aws_s3_bucket_policy" "zone" {
  for_each   = local.zones
  bucket     = aws_s3_bucket.zone[each.key].id
  depends_on = [aws_s3_bucket_public_access_block.zone]

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyOverTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.zone[each.key].arn, "${aws_s3_bucket.zone[each.key].arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        # Without the header the bucket's own key is taken.
        Sid       = "OnlyUnderAKeyOfKms"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.zone[each.key].arn}/*"
        Condition = {
          Null            = { "s3:x-amz-server-side-encryption" = "false" }
          StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }
        }
      },
      {
        Sid       = "OnlyItsReadersRead"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource  = "${aws_s3_bucket.zone[each.key].arn}/*"
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = local.readers[each.key] } }
      },
      {
        Sid       = "OnlyItsWritersWrite"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.zone[each.key].arn}/*"
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = local.writers[each.key] } }
      },
      {
        Sid       = "OnlyThePipelineDeletes"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:DeleteObject"
        Resource  = "${aws_s3_bucket.zone[each.key].arn}/*"
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = aws_iam_role.pipeline.arn } }
      },
    ]
  })
}

# New landing objects are announced to a queue, for streams whose sensor reads it instead of listing.
resource "aws_s3_bucket_notification" "landing" {
  bucket     = aws_s3_bucket.zone["landing"].id
  depends_on = [aws_sqs_queue_policy.notifications]

  queue {
    queue_arn = aws_sqs_queue.notifications.arn
    events    = ["s3:ObjectCreated:*"]
  }
}
