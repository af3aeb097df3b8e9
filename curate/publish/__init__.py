"""From judged rows to a published version, and its check."""
