locals {
  # Nothing else of these queues is said by policy: who sends and receives is said by the roles.
  only_over_tls = {
    Sid       = "OnlyOverTls"
    Effect    = "Deny"
    Principal = "*"
    Action    = "sqs:*"
    Resource  = "*"
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }

  suffix = { for name, queue in var.queues : name => queue.fifo ? ".fifo" : "" }

  # Seconds.
  day        = 86400
  visibility = 300 # a drain extends it while it works
}

# A poison message does not come here: it is landed like any other, and ends in bad_events. Here comes what was
# received a thousand times and never deleted, so what drains that crash, or are not allowed to write, leave behind.
# Nothing is lost: mend the cause and move the messages back. In a standard queue a message keeps the age it had, so
# this one keeps them longer than the queue they come from.
resource "aws_sqs_queue" "dead_letters" {
  for_each                  = var.queues
  name                      = "${var.name}-${each.key}-dead-letters${local.suffix[each.key]}"
  fifo_queue                = each.value.fifo
  message_retention_seconds = 14 * local.day
  kms_master_key_id         = aws_kms_key.zone["landing"].arn
}

resource "aws_sqs_queue" "stream" {
  for_each                   = var.queues
  name                       = "${var.name}-${each.key}${local.suffix[each.key]}"
  fifo_queue                 = each.value.fifo
  message_retention_seconds  = 7 * local.day
  visibility_timeout_seconds = local.visibility
  receive_wait_time_seconds  = 20
  kms_master_key_id          = aws_kms_key.zone["landing"].arn
}

resource "aws_sqs_queue_redrive_policy" "stream" {
  for_each  = var.queues
  queue_url = aws_sqs_queue.stream[each.key].id

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[each.key].arn
    maxReceiveCount     = 1000
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  for_each  = var.queues
  queue_url = aws_sqs_queue.dead_letters[each.key].id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.stream[each.key].arn]
  })
}

resource "aws_sqs_queue_policy" "stream" {
  for_each  = var.queues
  queue_url = aws_sqs_queue.stream[each.key].id
  policy    = jsonencode({ Version = "2012-10-17", Statement = [local.only_over_tls] })
}

resource "aws_sqs_queue_policy" "dead_letters" {
  for_each  = var.queues
  queue_url = aws_sqs_queue.dead_letters[each.key].id
  policy    = jsonencode({ Version = "2012-10-17", Statement = [local.only_over_tls] })
}

resource "aws_sqs_queue" "notifications" {
  name                       = "${var.name}-landing-notifications"
  message_retention_seconds  = 7 * local.day
  visibility_timeout_seconds = local.visibility
  receive_wait_time_seconds  = 20
  kms_master_key_id          = aws_kms_key.notifications.arn
}

# What is no notification of S3 is not deleted, and ends here. Of what was told in vain nothing is lost: the schedule
# `closed_hour` lists.
resource "aws_sqs_queue" "notifications_dead_letters" {
  name                      = "${var.name}-landing-notifications-dead-letters"
  message_retention_seconds = 14 * local.day
  kms_master_key_id         = aws_kms_key.notifications.arn
}

resource "aws_sqs_queue_redrive_policy" "notifications" {
  queue_url = aws_sqs_queue.notifications.id

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.notifications_dead_letters.arn
    maxReceiveCount     = 1000
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "notifications_dead_letters" {
  queue_url = aws_sqs_queue.notifications_dead_letters.id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.notifications.arn]
  })
}

resource "aws_sqs_queue_policy" "notifications_dead_letters" {
  queue_url = aws_sqs_queue.notifications_dead_letters.id
  policy    = jsonencode({ Version = "2012-10-17", Statement = [local.only_over_tls] })
}

resource "aws_sqs_queue_policy" "notifications" {
  queue_url = aws_sqs_queue.notifications.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.only_over_tls,
      {
        Sid       = "TheLandingBucketSends"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.notifications.arn
        Condition = {
          ArnEquals    = { "aws:SourceArn" = aws_s3_bucket.zone["landing"].arn }
          StringEquals = { "aws:SourceAccount" = var.account }
        }
      },
    ]
  })
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  for_each            = var.queues
  alarm_name          = aws_sqs_queue.dead_letters[each.key].name
  alarm_description   = "Messages of ${each.key} were received again and again and never deleted."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters[each.key].name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topics
}

resource "aws_cloudwatch_metric_alarm" "notifications_dead_letters" {
  alarm_name          = aws_sqs_queue.notifications_dead_letters.name
  alarm_description   = "Messages of ${aws_sqs_queue.notifications.name} are no notifications of S3, or could not be entered."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.notifications_dead_letters.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topics
}

# An hour behind, with a week to mend it before the first message is lost.
resource "aws_cloudwatch_metric_alarm" "waiting" {
  for_each            = var.queues
  alarm_name          = "${aws_sqs_queue.stream[each.key].name}-waiting"
  alarm_description   = "Nobody drains ${each.key}: its oldest message is an hour old."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.stream[each.key].name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 3600
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topics
}
