"""Files of tables, read whole or in windows: CSV, Parquet and NPZ."""
