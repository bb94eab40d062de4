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

# Region and credentials are the provider's own: AWS_REGION, AWS_PROFILE.
provider "aws" {
  default_tags {
    tags = {
      application = var.name
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}
