"""Tables that stay where they are stored: data frames of dask, and folders of Parquet files."""
