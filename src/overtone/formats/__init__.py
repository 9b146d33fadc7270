"""Files as numbers and names, before anything is known of what they mean: text tables, Parquet, arrays, MATLAB's."""
