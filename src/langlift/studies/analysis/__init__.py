"""What a study's runs show: spreads, differences, correlations, regressions, curves. Nothing is drawn here."""
