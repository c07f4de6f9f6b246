"""What a check found: results, table and picture. Decides nothing."""
