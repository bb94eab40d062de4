# A role for each kind of reader and writer. What a role may decrypt is said in the keys' policies, and nowhere else.

locals {
  # IAM takes no empty list: until somebody is named, only the pipeline takes a role, which gives it nothing new.
  principals = {
    producer    = length(var.producers) > 0 ? var.producers : [aws_iam_role.pipeline.arn]
    lake_reader = length(var.lake_readers) > 0 ? var.lake_readers : [aws_iam_role.pipeline.arn]
  }
}

resource "aws_iam_role" "pipeline" {
  name        = "${var.name}-pipeline"
  description = "Code location and runs: every zone, the queues, the key-encryption key."

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

resource "aws_iam_role_policy" "pipeline" {
  name = "pipeline"
  role = aws_iam_role.pipeline.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ListZones"
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetBucketLocation"]
        Resource = [for bucket in aws_s3_bucket.zone : bucket.arn]
      },
      {
        # Not s3:DeleteObjectVersion: what the lake has replaced stays for its month.
        Sid    = "ReadWriteAndDeleteObjects"
        Effect = "Allow"
        Action = [
          "s3:GetObject",
          "s3:PutObject",
          "s3:DeleteObject",
          "s3:AbortMultipartUpload",
          "s3:ListMultipartUploadParts",
        ]
        Resource = [for bucket in aws_s3_bucket.zone : "${bucket.arn}/*"]
      },
      {
        Sid    = "DrainQueues"
        Effect = "Allow"
        Action = [
          "sqs:ReceiveMessage",
          "sqs:DeleteMessage",
          "sqs:ChangeMessageVisibility",
          "sqs:GetQueueAttributes",
          "sqs:GetQueueUrl",
        ]
        Resource = concat([for queue in aws_sqs_queue.stream : queue.arn], [aws_sqs_queue.notifications.arn])
      },
    ]
  })
}

# Of its own: IAM takes no statement without a resource.
resource "aws_iam_role_policy" "pipeline_secrets" {
  count = length(var.secrets) > 0 ? 1 : 0
  name  = "secrets"
  role  = aws_iam_role.pipeline.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadTheSecretsOfPseudonyms"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = var.secrets
      },
    ]
  })
}

resource "aws_iam_role" "producer" {
  name        = "${var.name}-producer"
  description = "Puts objects into landing and messages into the queues; reads nothing."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "ProducersTakeTheRole"
        Effect    = "Allow"
        Principal = { AWS = local.principals.producer }
        Action    = "sts:AssumeRole"
      },
    ]
  })
}

resource "aws_iam_role_policy" "producer" {
  name = "producer"
  role = aws_iam_role.producer.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "PutIntoLanding"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        Resource = "${aws_s3_bucket.zone["landing"].arn}/*"
      },
      {
        Sid      = "SendMessages"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"]
        Resource = [for queue in aws_sqs_queue.stream : queue.arn]
      },
    ]
  })
}

resource "aws_iam_role" "lake_reader" {
  name        = "${var.name}-lake-reader"
  description = "Reads the lake, which holds no personal data in clear."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AnalystsTakeTheRole"
        Effect    = "Allow"
        Principal = { AWS = local.principals.lake_reader }
        Action    = "sts:AssumeRole"
      },
    ]
  })
}

resource "aws_iam_role_policy" "lake_reader" {
  name = "lake-reader"
  role = aws_iam_role.lake_reader.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ListTheLake"
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:GetBucketLocation"]
        Resource = aws_s3_bucket.zone["lake"].arn
      },
      {
        Sid      = "ReadTheLake"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${aws_s3_bucket.zone["lake"].arn}/*"
      },
    ]
  })
}

# A role for each derived dataset: all of them are in one bucket, under one key, each in a folder of its own.
resource "aws_iam_role" "consented_reader" {
  for_each    = var.consented_readers
  name        = "${var.name}-consented-${replace(each.key, "/", "-")}"
  description = "Reads the derived dataset ${each.key}, with what people consented to in clear."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "ReadersTakeTheRole"
        Effect    = "Allow"
        Principal = { AWS = each.value }
        Action    = "sts:AssumeRole"
      },
    ]
  })
}

resource "aws_iam_role_policy" "consented_reader" {
  for_each = var.consented_readers
  name     = "consented-reader"
  role     = aws_iam_role.consented_reader[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "FindTheBucket"
        Effect   = "Allow"
        Action   = "s3:GetBucketLocation"
        Resource = aws_s3_bucket.zone["consented"].arn
      },
      {
        Sid       = "ListTheDataset"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = aws_s3_bucket.zone["consented"].arn
        Condition = { StringLike = { "s3:prefix" = "${each.key}/*" } }
      },
      {
        Sid      = "ReadTheDataset"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${aws_s3_bucket.zone["consented"].arn}/${each.key}/*"
      },
    ]
  })
}
