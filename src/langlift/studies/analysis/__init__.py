"""Analysis of a study's runs: spreads, differences, correlations, regressions, curves. Nothing is plotted here."""
