"""Sharing trained runs: plain models, ONNX, the hub."""
