"""The Benchmark page's parts: one module for starting, one for each view of what was measured."""
