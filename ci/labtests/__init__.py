"""Tests that need a lab. Each file is a subject; `labkit.runner` finds and runs them."""
