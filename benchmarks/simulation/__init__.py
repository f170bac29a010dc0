"""The judges on made-up traffic: how often they are wrong, and how long they take to be right.

    python -m benchmarks.simulation --short      the goals, roughly; under a minute, exit code 1 on a clear miss
    python -m benchmarks.simulation --full       the goals; half an hour or more, resumable

Seeds are fixed, so that a run can be repeated. numpy is used here alone; the library does without.
"""
