terraform {
  required_version = ">= 1.10, < 2.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # `terraform init` writes the exact version and its hashes into .terraform.lock.hcl: commit that file.
      version = "~> 6.0"
    }
  }
}

# Credentials are the provider's own (AWS_PROFILE and so on); they have to be those of the account that is meant.
provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account]

  default_tags {
    tags = {
      application = var.name
    }
  }
}
