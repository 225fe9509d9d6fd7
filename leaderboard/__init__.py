"""Records in, tables and reports out. Never imports torch and never loads a model."""
