"""Turn a masked PyTorch model into a standard ``.tflite`` file, and check that the two agree."""
