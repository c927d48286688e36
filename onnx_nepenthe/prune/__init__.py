"""The PyTorch half: prune until layers are linear, then hand over to the ONNX half."""
