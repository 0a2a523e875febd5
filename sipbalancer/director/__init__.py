"""THE DECISION: pure, synchronous, one owner. Speaks by return value and by counters."""
