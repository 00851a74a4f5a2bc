"""What the TensorRT back end asks of CUDA."""
