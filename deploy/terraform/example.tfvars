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
