"""Read a ``.tflite`` file: its graph, its layers, their masks."""
