"""Opens run directories: the schema of the files, ``run.json``, and DuckDB views. Imports no torch."""
