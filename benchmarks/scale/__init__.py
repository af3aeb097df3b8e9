"""A plan for more rows than one machine has room for: simulated with workers as processes, and reckoned."""
