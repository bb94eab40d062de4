"""Key hierarchy and key store. Nothing is imported here: worker processes load only what they need."""
