"""The way in for inference traffic: one address for every service, whatever its replicas do."""
