"""A ``blackwell`` kernel as the clock reads it, without being rendered or compiled."""
