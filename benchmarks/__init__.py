"""The comparison with Postfix: `python -m benchmarks.bench` runs both side by side on this machine."""
