# A role for each reader. What a role may decrypt is said in the keys' policies, and nowhere else.

locals {
  # Role names have 64 characters at most and no slash.
  reader_names = { for dataset in keys(var.consented_readers) : dataset => "${var.name}-consented-${replace(dataset, "/", "-")}" }

  # IAM takes no empty list: until somebody is named, only the pipeline takes a role, which gives it nothing new.
  nobody = [aws_iam_role.pipeline.arn]
}

resource "aws_iam_role" "pipeline" {
  name        = "${var.name}-pipeline"
  description = "Code location and runs: every zone, the queues, the key-encryption key."

  assume_role_policy = templatefile("${path.module}/policies/trust-service.json", { service = var.pipeline_service })
}

resource "aws_iam_role_policy" "pipeline" {
  name = "pipeline"
  role = aws_iam_role.pipeline.id

  policy = templatefile("${path.module}/policies/pipeline.json", {
    buckets = jsonencode([for zone in local.zones : aws_s3_bucket.zone[zone].arn])
    objects = jsonencode([for zone in local.zones : "${aws_s3_bucket.zone[zone].arn}/*"])
    queues  = jsonencode(concat([for queue in aws_sqs_queue.stream : queue.arn], [aws_sqs_queue.notifications.arn]))
  })
}

# Of its own: IAM takes no statement without a resource.
resource "aws_iam_role_policy" "pipeline_secrets" {
  count = length(var.secrets) > 0 ? 1 : 0
  name  = "secrets"
  role  = aws_iam_role.pipeline.id

  policy = templatefile("${path.module}/policies/secrets.json", { secrets = jsonencode(var.secrets) })
}

resource "aws_iam_role" "producer" {
  name               = "${var.name}-producer"
  description        = "Puts objects into landing and messages into the queues; reads nothing."
  assume_role_policy = templatefile("${path.module}/policies/trust.json", { principals = jsonencode(length(var.producers) > 0 ? var.producers : local.nobody) })
}

resource "aws_iam_role_policy" "producer" {
  name = "producer"
  role = aws_iam_role.producer.id

  policy = templatefile("${path.module}/policies/producer.json", {
    landing = aws_s3_bucket.zone["landing"].arn
    queues  = jsonencode([for queue in aws_sqs_queue.stream : queue.arn])
  })
}

resource "aws_iam_role" "lake_reader" {
  name               = "${var.name}-lake-reader"
  description        = "Reads the lake, which holds no personal data in clear."
  assume_role_policy = templatefile("${path.module}/policies/trust.json", { principals = jsonencode(length(var.lake_readers) > 0 ? var.lake_readers : local.nobody) })
}

resource "aws_iam_role_policy" "lake_reader" {
  name   = "lake-reader"
  role   = aws_iam_role.lake_reader.id
  policy = templatefile("${path.module}/policies/lake-reader.json", { lake = aws_s3_bucket.zone["lake"].arn })
}

resource "aws_iam_role" "consented_reader" {
  for_each           = var.consented_readers
  name               = local.reader_names[each.key]
  description        = "Reads the derived dataset ${each.key}, with the fields that people consented to in clear."
  assume_role_policy = templatefile("${path.module}/policies/trust.json", { principals = jsonencode(each.value) })
}

resource "aws_iam_role_policy" "consented_reader" {
  for_each = var.consented_readers
  name     = "consented-reader"
  role     = aws_iam_role.consented_reader[each.key].id

  policy = templatefile("${path.module}/policies/consented-reader.json", {
    consented = aws_s3_bucket.zone["consented"].arn
    dataset   = each.key
  })
}
