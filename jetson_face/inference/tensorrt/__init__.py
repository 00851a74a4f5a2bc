"""ONNX to TensorRT plan: build, cache, and trust only after the parity gate."""
