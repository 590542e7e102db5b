"""What the hook costs and keeps, beside its peers. Each module asks one question; `python -m benchmarks` asks all."""
