"""How a model becomes aligned. Knows no task, metric, file path or command line."""
