"""What commands print: tables, pages, summaries."""
