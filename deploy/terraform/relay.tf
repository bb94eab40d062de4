# The relay: for each stream of Kinesis with events of Snowplow's PII enrichment a function that brings what they say
# into the vault, and a bucket for what it cannot read. In that are originals in clear.

resource "aws_iam_role" "relay" {
  for_each    = var.relays
  name        = "${var.name}-relay-${each.key}"
  description = "The relay of ${each.key}: reads its stream, puts into its quarantine, and reads neither zone nor vault."

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TheFunctionTakesTheRole"
        Effect    = "Allow"
        Principal = { Service = "lambda.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = { StringEquals = { "aws:SourceAccount" = var.account } }
      },
    ]
  })
}

resource "aws_iam_role_policy" "relay" {
  for_each = var.relays
  name     = "relay"
  role     = aws_iam_role.relay[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid    = "ReadTheStream"
          Effect = "Allow"
          Action = [
            "kinesis:DescribeStream",
            "kinesis:DescribeStreamSummary",
            "kinesis:GetRecords",
            "kinesis:GetShardIterator",
            "kinesis:ListShards",
          ]
          Resource = each.value.stream
        },
        {
          # Put alone: what is in quarantine, the function does not read. Lambda itself lists the bucket before it
          # puts batches there that were given up.
          Sid      = "PutIntoQuarantine"
          Effect   = "Allow"
          Action   = "s3:PutObject"
          Resource = "${aws_s3_bucket.quarantine[each.key].arn}/*"
        },
        {
          Sid      = "FindTheQuarantine"
          Effect   = "Allow"
          Action   = "s3:ListBucket"
          Resource = aws_s3_bucket.quarantine[each.key].arn
        },
        {
          Sid      = "Log"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = "${aws_cloudwatch_log_group.relay[each.key].arn}:*"
        },
        {
          # Lambda's own, to put the function into the network. They know no narrower resource.
          Sid    = "BeInTheNetwork"
          Effect = "Allow"
          Action = [
            "ec2:AssignPrivateIpAddresses",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:UnassignPrivateIpAddresses",
          ]
          Resource = "*"
        },
        {
          Sid      = "ReadItsToken"
          Effect   = "Allow"
          Action   = "secretsmanager:GetSecretValue"
          Resource = each.value.token_secret
        },
      ],
      [
        for key in compact([each.value.stream_key]) : {
          Sid       = "OpenTheStream"
          Effect    = "Allow"
          Action    = "kms:Decrypt"
          Resource  = key
          Condition = { StringEquals = { "kms:ViaService" = "kinesis.${var.region}.amazonaws.com" } }
        }
      ],
    )
  })
}

resource "aws_cloudwatch_log_group" "relay" {
  for_each          = var.relays
  name              = "/aws/lambda/${var.name}-relay-${each.key}"
  retention_in_days = 30
}

resource "aws_lambda_function" "relay" {
  for_each         = var.relays
  function_name    = "${var.name}-relay-${each.key}"
  role             = aws_iam_role.relay[each.key].arn
  runtime          = "python3.13"
  architectures    = ["x86_64"]
  handler          = "pii_pipeline.relay.handler.handler"
  filename         = var.relay_package
  source_code_hash = fileexists(var.relay_package) ? filebase64sha256(var.relay_package) : "not made yet"
  memory_size      = 512
  timeout          = 60
  depends_on       = [aws_cloudwatch_log_group.relay, aws_iam_role_policy.relay]

  environment {
    variables = {
      PIINGUIN_HOST        = each.value.host
      PIINGUIN_PORT        = tostring(each.value.port)
      PIINGUIN_TIMEOUT_SEC = "10"
      PII_RELAY_QUARANTINE = "s3://${aws_s3_bucket.quarantine[each.key].bucket}"
      PII_VAULT_TOKEN      = "aws-secretsmanager://${each.value.token_secret}"
      PII_VAULT_TLS_CA     = "/var/task/ca.pem"
    }
  }

  vpc_config {
    subnet_ids         = each.value.subnets
    security_group_ids = each.value.security_groups
  }
}

# A record that fails for ever holds up its shard. After a day it is given up with its batch, which Lambda puts whole
# into the quarantine's bucket, as it does to no queue and no topic.
resource "aws_lambda_event_source_mapping" "relay" {
  for_each                           = var.relays
  function_name                      = aws_lambda_function.relay[each.key].arn
  event_source_arn                   = each.value.stream
  starting_position                  = "TRIM_HORIZON"
  batch_size                         = 500
  maximum_batching_window_in_seconds = 5
  maximum_record_age_in_seconds      = 86400
  maximum_retry_attempts             = -1
  bisect_batch_on_function_error     = true
  function_response_types            = ["ReportBatchItemFailures"]

  destination_config {
    on_failure {
      destination_arn = aws_s3_bucket.quarantine[each.key].arn
    }
  }
}

# It is behind: the vault is away, or a record fails for ever.
resource "aws_cloudwatch_metric_alarm" "relay_behind" {
  for_each            = var.relays
  alarm_name          = "${var.name}-relay-${each.key}-behind"
  alarm_description   = "The relay of ${each.key} is an hour behind its stream."
  namespace           = "AWS/Lambda"
  metric_name         = "IteratorAge"
  dimensions          = { FunctionName = aws_lambda_function.relay[each.key].function_name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 3600000
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topics
}

resource "aws_kms_key" "quarantine" {
  for_each                = var.relays
  description             = "${var.name}: what the relay of ${each.key} could not read"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.administration,
      {
        Sid       = "ItsReadersOpenIt"
        Effect    = "Allow"
        Principal = { AWS = var.quarantine_readers }
        Action    = "kms:Decrypt"
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
      {
        Sid       = "TheRelaySeals"
        Effect    = "Allow"
        Principal = { AWS = aws_iam_role.relay[each.key].arn }
        Action    = "kms:GenerateDataKey"
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
    ]
  })
}

resource "aws_s3_bucket" "quarantine" {
  for_each = var.relays
  bucket   = "${var.name}-relay-${each.key}-${var.account}"
}

resource "aws_s3_bucket_public_access_block" "quarantine" {
  for_each                = var.relays
  bucket                  = aws_s3_bucket.quarantine[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "quarantine" {
  for_each = var.relays
  bucket   = aws_s3_bucket.quarantine[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "quarantine" {
  for_each = var.relays
  bucket   = aws_s3_bucket.quarantine[each.key].id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.quarantine[each.key].arn
    }
  }
}

# Clear originals are not kept for longer than it takes to mend and send again.
resource "aws_s3_bucket_lifecycle_configuration" "quarantine" {
  for_each = var.relays
  bucket   = aws_s3_bucket.quarantine[each.key].id

  rule {
    id     = "forget"
    status = "Enabled"
    filter {}

    expiration {
      days = 30
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

resource "aws_s3_bucket_policy" "quarantine" {
  for_each   = var.relays
  bucket     = aws_s3_bucket.quarantine[each.key].id
  depends_on = [aws_s3_bucket_public_access_block.quarantine]

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyOverTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.quarantine[each.key].arn, "${aws_s3_bucket.quarantine[each.key].arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        # Without the header the bucket's own key is taken.
        Sid       = "OnlyUnderAKeyOfKms"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.quarantine[each.key].arn}/*"
        Condition = {
          Null            = { "s3:x-amz-server-side-encryption" = "false" }
          StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }
        }
      },
      {
        Sid       = "ItsReadersReadIt"
        Effect    = "Allow"
        Principal = { AWS = var.quarantine_readers }
        Action    = ["s3:GetObject", "s3:DeleteObject"]
        Resource  = "${aws_s3_bucket.quarantine[each.key].arn}/*"
      },
      {
        Sid       = "ItsReadersFindIt"
        Effect    = "Allow"
        Principal = { AWS = var.quarantine_readers }
        Action    = "s3:ListBucket"
        Resource  = aws_s3_bucket.quarantine[each.key].arn
      },
      {
        Sid       = "NobodyElseReads"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource  = "${aws_s3_bucket.quarantine[each.key].arn}/*"
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = var.quarantine_readers } }
      },
      {
        Sid       = "OnlyTheRelayWrites"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.quarantine[each.key].arn}/*"
        Condition = { ArnNotEquals = { "aws:PrincipalArn" = aws_iam_role.relay[each.key].arn } }
      },
    ]
  })
}
