"""The vault: pseudonym → original, sealed; told for a lawful basis, each look on record."""
