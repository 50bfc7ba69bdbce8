"""The Diagnosis page's views: which layers int8 breaks, why, and what mends it."""
