"""What a run also logs to: TensorBoard, Weights & Biases, MLflow, Trackio and Aim, by Accelerate's trackers."""
