# Copy to terraform.tfvars, which is not committed, and put in what is yours.
account = "123456789012"
region  = "eu-central-1"

producers    = ["arn:aws:iam::123456789012:role/webshop-backend"]
lake_readers = ["arn:aws:iam::123456789012:role/analysts"]

consented_readers = {
  "webshop/marketing"         = ["arn:aws:iam::123456789012:role/marketing"]
  "webshop/product_analytics" = ["arn:aws:iam::123456789012:role/product-analytics"]
}

queues = {
  logins = {}
  orders = { fifo = true }
}

secrets      = ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:pii/pseudonym-secret-AbCdEf"]
alarm_topics = ["arn:aws:sns:eu-central-1:123456789012:on-call"]

vault_table = "pii-vault"

relays = {
  snowplow = {
    stream          = "arn:aws:kinesis:eu-central-1:123456789012:stream/snowplow-pii"
    stream_key      = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    host            = "vault.pii.internal"
    token_secret    = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:pii/relay-token-GhIjKl"
    subnets         = ["subnet-0123456789abcdef0"]
    security_groups = ["sg-0123456789abcdef0"]
  }
}

quarantine_readers = ["arn:aws:iam::123456789012:role/data-protection"]
