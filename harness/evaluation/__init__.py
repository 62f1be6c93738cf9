"""What is measured of a trained model: likelihood, efficiency, generation."""
