"""Raw drop to published data set version. Knows Arrow; knows neither Prefect nor torch."""
