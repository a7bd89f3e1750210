"""Command line for a trained model; may import more than the library does."""
