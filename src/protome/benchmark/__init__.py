"""Benchmarks: accuracy, speed and named studies."""
