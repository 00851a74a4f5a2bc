"""Real-time face recognition for NVIDIA Jetson, and for any PC through ONNX Runtime."""

__version__ = "0.1.0"
