"""Serves one model over HTTP and gRPC: what each replica of a service runs."""
