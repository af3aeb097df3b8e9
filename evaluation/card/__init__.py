"""What is said of systems: counts, intervals, tests, pages."""
