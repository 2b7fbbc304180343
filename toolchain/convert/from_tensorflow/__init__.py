"""Models of TensorFlow: what they are, and their files by TensorFlow's own converter."""
