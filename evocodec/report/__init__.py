"""Reports: measured facts to HTML, CSV and plots."""
