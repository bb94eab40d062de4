"""Warehouse tables: rows of datasets in DuckDB or PostgreSQL, for people who ask in SQL."""
