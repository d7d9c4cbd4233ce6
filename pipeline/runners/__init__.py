"""What runs the stages: the driver, Beam, Flink."""
