"""What goes over the wire: Piinguin's protocol and ours, and what `make protos` makes of their protos."""
