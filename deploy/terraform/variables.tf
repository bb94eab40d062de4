variable "account" {
  description = "The number of the AWS account that all of this is made in."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "An account has twelve digits; write them in quotes."
  }
}

variable "region" {
  description = "The region, for example eu-central-1."
  type        = string
}

variable "name" {
  description = "What all names begin with. Buckets are named NAME-ZONE-ACCOUNT."
  type        = string
  default     = "pii"
}

variable "pipeline_service" {
  description = "The AWS service whose workloads take the pipeline's role: EKS Pod Identity, ECS or EC2."
  type        = string
  default     = "pods.eks.amazonaws.com"

  validation {
    condition     = contains(["pods.eks.amazonaws.com", "ecs-tasks.amazonaws.com", "ec2.amazonaws.com"], var.pipeline_service)
    error_message = "Use pods.eks.amazonaws.com, ecs-tasks.amazonaws.com or ec2.amazonaws.com."
  }
}

variable "producers" {
  description = "ARNs of the principals that may take the producer's role: put objects into landing and send to the queues."
  type        = list(string)
  default     = []
}

variable "lake_readers" {
  description = "ARNs of the principals that may take the analyst's role: read the lake, which holds no personal data in clear."
  type        = list(string)
  default     = []
}

variable "consented_readers" {
  description = "For each derived dataset, as STREAM/DATASET, the ARNs of the principals that may read it."
  type        = map(list(string))
  default     = {}

  validation {
    condition     = alltrue([for dataset in keys(var.consented_readers) : can(regex("^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$", dataset))])
    error_message = "Write a dataset as STREAM/DATASET, for example webshop/marketing."
  }

  validation {
    condition     = alltrue([for principals in values(var.consented_readers) : length(principals) > 0])
    error_message = "Name at least one principal for each dataset, or leave the dataset out."
  }
}

variable "queues" {
  description = "The queues that streams are read from, by name."
  type        = map(object({ fifo = optional(bool, false) }))
  default     = { logins = {} }
}

variable "secrets" {
  description = "ARNs of the secrets that PII_PSEUDONYM_SECRET and PII_SNOWPLOW_SALT name, if they do."
  type        = list(string)
  default     = []
}

variable "alarm_topics" {
  description = "ARNs of the SNS topics that are told when messages wait in a dead-letter queue or grow old in a queue."
  type        = list(string)
  default     = []
}

variable "vault_table" {
  description = "The DynamoDB table of the vault's records (PII_VAULT_URL=dynamodb://TABLE); empty where they are in PostgreSQL."
  type        = string
  default     = ""
}

variable "relays" {
  description = "For each relay, by name: its Kinesis stream (ARN; also of the stream's key, if it is yours), the vault's service, the secret (ARN) that holds the token, and its place in the network."
  type = map(object({
    stream          = string
    stream_key      = optional(string, "")
    host            = string
    port            = optional(number, 8080)
    token_secret    = string
    subnets         = list(string)
    security_groups = list(string)
  }))
  default = {}
}

variable "relay_package" {
  description = "What `make relay` has made: the function's code and its libraries."
  type        = string
  default     = "../../var/relay.zip"
}

variable "quarantine_readers" {
  description = "ARNs of the principals that may read what a relay could not: originals in clear."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.relays) == 0 || length(var.quarantine_readers) > 0
    error_message = "Name at least one principal that may read what the relays cannot."
  }
}
