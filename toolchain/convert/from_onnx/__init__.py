"""ONNX files as torch modules: read to a limit, computed where nothing depends on the input."""
