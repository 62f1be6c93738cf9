"""From tables to statistics, figures and a report."""
