"""Stores in DynamoDB and S3."""
