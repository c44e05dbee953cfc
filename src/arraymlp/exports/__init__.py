"""Models as other programs take them: ONNX graphs."""
