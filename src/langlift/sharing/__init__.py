"""Sharing what was trained: plain models, ONNX, the hub."""
