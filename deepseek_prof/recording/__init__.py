"""Makes run directories: starts the program, reads what its processes write, converts it to Parquet."""
