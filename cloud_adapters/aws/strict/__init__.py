"""Parts that the strict EC2 of `cloud_adapters.aws.server` is put together from; only tests need them."""
