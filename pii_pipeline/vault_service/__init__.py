"""The vault as a gRPC service: Piinguin's wire protocol, and ours."""
