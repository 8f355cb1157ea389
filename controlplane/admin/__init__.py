"""Local commands that need the server's own parts; imported only when they are called."""
