"""What a run leaves on disk: records, atomic writes, tables rebuilt from records."""
