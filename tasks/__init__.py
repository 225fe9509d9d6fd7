"""What the data is and what is measured: preference pairs, toxicity, perplexity, capability."""
