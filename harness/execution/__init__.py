"""Running trials: one trial, isolated workers, the serial and the Ray executor."""
