"""The Python interface: load, plan and run suites, read their results, measure latency. The command line uses it.

Import these functions from `harness` itself: ``harness.run("suites/quick.yaml")``.
"""
