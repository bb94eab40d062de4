"""What goes over the wire: Piinguin's protocol as it is, and ours. Protos, and what `make protos` makes of them."""
