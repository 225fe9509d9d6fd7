"""The ground floor: plain values, errors, hashing, registries, assets. Imports nothing of ours and no torch."""
