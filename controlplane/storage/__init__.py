"""Object stores: bytes by URI."""
